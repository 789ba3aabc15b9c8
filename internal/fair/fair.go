// Package fair keeps long loops from holding up requests.
package fair

import "runtime"

// every is how many steps of a loop, each of about a microsecond, go by before others run.
const every = 32

// Turn is called with the number of each step of a loop that may take milliseconds: now and then it lets others run. Where there is one
// processor they would wait for the end of the loop.
func Turn(step int) {
	if step%every == every-1 {
		runtime.Gosched()
	}
}
