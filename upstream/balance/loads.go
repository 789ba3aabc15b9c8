package balance

// A Level is the hosts of one priority.
type Level struct {
	Total, Healthy, Degraded, Excluded int // Total counts the excluded ones too
	Factor                             int // overprovisioning_factor in percent; 0 is 140
}

// Shares are which part of the traffic goes where, in percent. Both add up to 100 in all.
type Shares struct {
	Healthy, Degraded []int  // to the healthy, or the degraded, hosts of each priority
	Panic             []bool // in this priority the health of hosts is ignored
}

// Loads distributes traffic over priorities by Envoy's rules: a priority gets as much as its healthy hosts can take, which is
// overprovisioning_factor times their share of all its hosts; what is left goes to the next, then to degraded hosts. threshold is the
// healthy panic threshold in percent; a priority below it panics, unless all priorities together can take everything.
func Loads(levels []Level, threshold float64) Shares {
	n := len(levels)
	s := Shares{Healthy: make([]int, n), Degraded: make([]int, n), Panic: make([]bool, n)}
	if n == 0 {
		return s
	}
	healthy, degraded := make([]int, n), make([]int, n)
	total := 0
	for i, l := range levels {
		factor := l.Factor
		if factor == 0 {
			factor = 140
		}
		if hosts := l.Total - l.Excluded; hosts > 0 {
			healthy[i] = min(100, factor*l.Healthy/hosts)
			degraded[i] = min(100, factor*l.Degraded/hosts)
		}
		total += healthy[i] + degraded[i]
	}
	total = min(total, 100)
	if total > 0 {
		rest := share(s.Healthy, healthy, 100, total)
		rest = share(s.Degraded, degraded, rest, total)
		giveRest(&s, healthy, degraded, rest)
	}
	s.panic(levels, threshold, total)
	return s
}

// share gives each priority its part of what is left and returns what then is left.
func share(to, capacity []int, rest, total int) int {
	for i, c := range capacity {
		to[i] = min(rest, c*100/total)
		rest -= to[i]
	}
	return rest
}

// giveRest gives what rounding has left to the first priority that can take anything.
func giveRest(s *Shares, healthy, degraded []int, rest int) {
	for i := range healthy {
		if healthy[i] > 0 {
			s.Healthy[i] += rest
			return
		}
	}
	for i := range degraded {
		if degraded[i] > 0 {
			s.Degraded[i] += rest
			return
		}
	}
}

func (s *Shares) panic(levels []Level, threshold float64, total int) {
	threshold = min(threshold, 100)
	if threshold == 0 && total == 0 {
		s.Healthy[0] = 100 // somebody has to say that there is nobody
		return
	}
	all := true
	for i, l := range levels {
		s.Panic[i] = total != 100 && percent(l.Healthy, l.Total-l.Excluded)+percent(l.Degraded, l.Total-l.Excluded) < threshold
		all = all && s.Panic[i]
	}
	if all {
		s.byNumber(levels)
	}
}

func percent(part, whole int) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// byNumber distributes by the number of hosts: all priorities panic.
func (s *Shares) byNumber(levels []Level) {
	hosts, first := 0, -1
	for _, l := range levels {
		hosts += l.Total
	}
	clear(s.Healthy)
	clear(s.Degraded)
	if hosts == 0 {
		s.Healthy[0] = 100
		return
	}
	rest := 100
	for i, l := range levels {
		if first < 0 && l.Total > 0 {
			first = i
		}
		s.Healthy[i] = 100 * l.Total / hosts
		rest -= s.Healthy[i]
	}
	s.Healthy[first] += rest
}
