package upstream

import "maps"

// A Table is the clusters of a snapshot by name. Immutable.
type Table struct{ byName map[string]*Cluster }

// NewTable returns a table of clusters; a later one replaces an earlier one of the same name.
func NewTable(clusters ...*Cluster) *Table {
	t := &Table{byName: make(map[string]*Cluster, len(clusters))}
	for _, c := range clusters {
		t.byName[c.Name] = c
	}
	return t
}

// Find returns the cluster of that name, nil when there is none. A nil Table has none.
func (t *Table) Find(name string) *Cluster {
	if t == nil {
		return nil
	}
	return t.byName[name]
}

// All returns the clusters by name; the caller owns the map.
func (t *Table) All() map[string]*Cluster {
	if t == nil {
		return nil
	}
	return maps.Clone(t.byName)
}
