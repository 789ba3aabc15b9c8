package server

import (
	"fmt"

	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/internal/logging"
	"github.com/weftproxy/weft/resource"
)

// Validate compiles the configuration and starts nothing. It writes every problem to standard error, and "configuration 'FILE' OK" to
// standard output if none is an error; otherwise it returns an error with their number.
func Validate(o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	return o.compileOnly(resource.Note, func(g *generation) error {
		fmt.Fprintf(o.Stdout, "configuration '%s' OK\n", g.name)
		return nil
	})
}

// compileOnly reads and compiles the configuration, starts nothing and shows it to use, if it has no errors. The problems that are at
// least as severe as least are written to standard error first.
func (o Options) compileOnly(least resource.Severity, use func(*generation) error) error {
	registry, err := extension.NewRegistry(o.Extensions)
	if err != nil {
		return err
	}
	logs, err := logging.New(logging.Options{Level: "off"})
	if err != nil {
		return err
	}
	l := o.load(registry.Support())
	if l.set == nil {
		l.write(o.Stderr, least)
		return l.err()
	}
	p, err := newProcess(o, logs, registry, l)
	if err != nil {
		l.write(o.Stderr, least)
		return err
	}
	defer p.close()
	g, err := p.compile(l)
	l.write(o.Stderr, least)
	if err != nil {
		return err
	}
	defer p.discard(g)
	return use(g)
}
