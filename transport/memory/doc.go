// Package memory is a network in memory, for tests: connections that look like TCP, with buffers of limited size, deadlines, half-close
// and resets. It uses nothing but mutexes and channels, so that it works, and time stands still while it waits, in a synctest bubble.
package memory
