// Package subscription joins those who use resources by name (route tables, endpoints, secrets, filter configurations) with the sources that
// deliver them. Users hold a Watch; a source learns from Changes what is wanted and calls Deliver. A version takes effect for all users of a
// resource or for none. The package does no I/O.
package subscription
