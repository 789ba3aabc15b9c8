// Package archtest holds the architecture: its test fails with the offending edge when a package imports one of its own row or above.
package archtest
