package exchange

import (
	"github.com/weftproxy/weft/match"
	"github.com/weftproxy/weft/message"
)

// SetRuntime makes the weights of weighted clusters follow the runtime keys prefix.name. It is for the compiler of the target.
func (t *Target) SetRuntime(prefix string, rt match.Runtime) {
	if prefix == "" || rt == nil {
		return
	}
	t.Runtime, t.RuntimePrefix = rt, prefix
	for i := range t.Weighted {
		t.Weighted[i].runtimeKey = prefix + "." + t.Weighted[i].Name
	}
}

// Choose returns the name of the cluster that a request goes to, "" when a header should say and does not, and which of several
// weighted clusters it is, nil when there is only one. The name is borrowed from the request when a header says it.
func (t *Target) Choose(r *message.Request, random uint64) (cluster string, weighted *Weighted) {
	switch {
	case t.ClusterHeader != "":
		name, _ := match.FirstOf(r, t.ClusterHeader)
		return name, nil
	case len(t.Weighted) == 0:
		return t.Cluster, nil
	}
	w := t.pick(t.value(r, random))
	if w.Header != "" {
		name, _ := match.FirstOf(r, w.Header)
		return name, w
	}
	return w.Name, w
}

// value is what selects: the number in RandomHeader when that is sent once and is one, otherwise the random number.
func (t *Target) value(r *message.Request, random uint64) uint64 {
	if t.RandomHeader == "" || r.Header.Count(t.RandomHeader) > 1 {
		return random
	}
	if text, ok := match.FirstOf(r, t.RandomHeader); ok {
		if n, ok := match.ParseUint(text); ok {
			return n
		}
	}
	return random
}

// pick finds the cluster in whose part of the sum of weights the value falls: the first has [0, weight), and so on.
func (t *Target) pick(value uint64) *Weighted {
	total := t.total()
	dynamic := t.Runtime != nil && total > 0
	if !dynamic {
		total = t.Total
	}
	if total == 0 {
		return &t.Weighted[0]
	}
	value %= total
	for i := range t.Weighted {
		w := &t.Weighted[i]
		weight := w.Weight
		if dynamic {
			weight = t.weight(w)
		}
		if value < weight {
			return w
		}
		value -= weight
	}
	return &t.Weighted[len(t.Weighted)-1] // a runtime weight fell meanwhile
}

// total is the sum of the weights as the runtime has them.
func (t *Target) total() uint64 {
	if t.Runtime == nil {
		return t.Total
	}
	var sum uint64
	for i := range t.Weighted {
		sum += t.weight(&t.Weighted[i])
	}
	return sum
}

func (t *Target) weight(w *Weighted) uint64 {
	if text, ok := t.Runtime.Lookup(w.runtimeKey); ok {
		if n, ok := match.ParseUint(text); ok && n < 1<<32 {
			return n
		}
	}
	return w.Weight
}
