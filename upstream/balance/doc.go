// Package balance chooses among endpoints. A Policy builds a Picker from the endpoints that may be chosen; a Picker is immutable
// but for its position and takes no lock. Loads says which share of the traffic each priority gets.
package balance
