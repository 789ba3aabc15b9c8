package route

import (
	"slices"
	"strings"

	"github.com/weftproxy/weft/match"
)

// An index finds the entries of a virtual host that a path may belong to. Entries of one key are chained in their order through
// entry.next, so that candidates are a few chains to be merged.
type index struct {
	fold     bool
	exact    map[string]int32 // path → first entry
	prefixes []prefix         // sorted by text
}

// A prefix is a beginning of paths. All prefixes of a path are one of them and its ancestors.
type prefix struct {
	text string
	head int32 // first entry
	up   int32 // the longest other prefix that this one begins with; -1: none
}

// newIndex indexes the entries that have case, or those that have none. It sets their next.
func newIndex(entries []entry, fold bool) index {
	x := index{fold: fold}
	heads := map[string]int32{}
	for i := len(entries) - 1; i >= 0; i-- {
		e := &entries[i]
		if e.fold != fold {
			continue
		}
		e.next = -1
		key, chains := e.key(), heads
		if e.kind == exactPath {
			if x.exact == nil {
				x.exact = map[string]int32{}
			}
			chains = x.exact
		}
		if head, ok := chains[key]; ok {
			e.next = head
		}
		chains[key] = int32(i)
	}
	for text, head := range heads {
		x.prefixes = append(x.prefixes, prefix{text, head, -1})
	}
	slices.SortFunc(x.prefixes, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := 1; i < len(x.prefixes); i++ {
		up := int32(i - 1)
		for up >= 0 && !strings.HasPrefix(x.prefixes[i].text, x.prefixes[up].text) {
			up = x.prefixes[up].up
		}
		x.prefixes[i].up = up
	}
	return x
}

// cursors are the heads of chains of candidates.
type cursors struct {
	heads [maxCursors]int32
	n     int
}

// maxCursors bounds how many prefixes one within the other are followed; a path with more is matched by walking.
const maxCursors = 32

// add adds a chain and reports whether there was room.
func (c *cursors) add(head int32) bool {
	if c.n == maxCursors {
		return false
	}
	c.heads[c.n] = head
	c.n++
	return true
}

// first takes the candidate that comes first in the configuration; -1: there is none left.
func (c *cursors) first(entries []entry) int32 {
	least := -1
	for i := range c.n {
		if c.heads[i] >= 0 && (least < 0 || c.heads[i] < c.heads[least]) {
			least = i
		}
	}
	if least < 0 {
		return -1
	}
	at := c.heads[least]
	c.heads[least] = entries[at].next
	return at
}

// candidates adds the chains of entries that a path may belong to. It returns false when there are too many.
func (x *index) candidates(path string, c *cursors) bool {
	if x.exact == nil && x.prefixes == nil {
		return true
	}
	if x.fold && match.HasUpper(path) {
		var scratch [256]byte
		return candidates(x, match.AppendLower(scratch[:0], path), c)
	}
	return candidates(x, path, c)
}

// candidates is generic so that a path folded to lower case needs no string.
func candidates[P string | []byte](x *index, path P, c *cursors) bool {
	if head, ok := x.exact[string(path)]; ok && !c.add(head) {
		return false
	}
	lo, hi := 0, len(x.prefixes) // the first prefix after path
	for lo < hi {
		if mid := (lo + hi) / 2; x.prefixes[mid].text > string(path) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	at := int32(lo - 1)
	for at >= 0 && !begins(path, x.prefixes[at].text) {
		at = x.prefixes[at].up
	}
	for ; at >= 0; at = x.prefixes[at].up {
		if !c.add(x.prefixes[at].head) {
			return false
		}
	}
	return true
}

func begins[P string | []byte](path P, text string) bool {
	return len(path) >= len(text) && string(path[:len(text)]) == text
}
