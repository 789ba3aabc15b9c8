// Package cgroup reads the limits that Linux control groups, version 1 and 2, put on the process.
package cgroup
