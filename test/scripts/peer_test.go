package scripts

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/weftproxy/weft/test/kit"
)

// peer is a step of a connection.
func (r *runner) peer(s step) error {
	if len(s.words) < 2 {
		return errUsage
	}
	name, verb, args := s.words[0], s.words[1], s.words[2:]
	if verb == "connects" {
		return r.connect(name, args)
	}
	p := r.peers[name]
	if p == nil {
		if verb != "asks" && verb != "sends" && verb != "half-closes" {
			return errUsage
		}
		if err := r.connect(name, nil); err != nil {
			return err
		}
		p = r.peers[name]
	}
	switch verb {
	case "sends":
		return p.sends(s, args)
	case "asks":
		return p.asks(s, args)
	case "gets":
		return r.gets(p, s, args)
	case "closes":
		return p.Close()
	case "half-closes":
		return p.CloseWrite()
	case "resets":
		return p.Reset()
	case "sees":
		how, err := p.End()
		if err == nil && args[0] != how && args[0] != "close" {
			err = fmt.Errorf("it ended with %q", how)
		}
		return err
	}
	return errUsage
}

func (r *runner) connect(name string, args []string) error {
	r.running()
	listener := "main"
	if len(args) == 2 {
		listener = args[1]
	}
	if old := r.peers[name]; old != nil {
		_ = old.Close() // most are closed already
	}
	r.peers[name] = &peer{Peer: r.lab.Dial(listener)}
	return nil
}

func (p *peer) sends(s step, args []string) error {
	if len(args) > 0 {
		return p.Send([]byte(strings.Join(args, " ")))
	}
	b, err := bytesOf(s.block)
	if err != nil {
		return err
	}
	return p.Send(b)
}

// asks sends a well-formed request.
func (p *peer) asks(s step, args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	var head, body []string
	rest := s.block
	for i, line := range s.block {
		if line == "" {
			rest, body = s.block[:i], s.block[i:]
			break
		}
	}
	head = rest
	has := func(name string) bool {
		for _, line := range head {
			if n, _, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
				return true
			}
		}
		return false
	}
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", args[0], args[1])
	if !has("host") {
		b = append(b, "host: weft.example\r\n"...)
	}
	for _, line := range head {
		b = append(append(b, line...), "\r\n"...)
	}
	if len(body) > 1 {
		raw, err := bytesOf(body)
		if err != nil {
			return err
		}
		raw = bytes.TrimPrefix(raw, []byte("\r\n"))
		if !has("transfer-encoding") && !has("content-length") {
			b = fmt.Appendf(b, "content-length: %d\r\n", len(raw))
		}
		return p.Send(append(append(b, "\r\n"...), raw...))
	}
	return p.Send(append(b, "\r\n"...))
}

func (r *runner) gets(p *peer, s step, args []string) error {
	switch {
	case len(args) == 0 || args[0] == "head":
		m, err := p.message(len(args) == 0)
		if err != nil {
			return err
		}
		return r.expect(s, strings.Split(m.Text(r.hide), "\n"))
	case len(args[0]) == 3 && args[0] >= "100" && args[0] <= "999":
		return p.status(args)
	}
	want := []byte(strings.Join(args, " "))
	got, err := p.Bytes(len(want))
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %q: %w", got, err)
	}
	return nil
}

// message reads the next message, whole or only its head.
func (p *peer) message(whole bool) (*kit.Message, error) {
	read := p.Head
	if p.upstream {
		read = p.Request
	}
	m, err := read()
	if err == nil && whole {
		_ = p.Body(m) // kept in m.Err
	}
	return m, err
}

// status expects a complete response of a status and perhaps with this body.
func (p *peer) status(args []string) error {
	m, err := p.Response()
	switch {
	case err != nil:
		return err
	case strconv.Itoa(m.Status()) != args[0]:
		return fmt.Errorf("got %s", m.Text(nil))
	case m.Err != nil:
		return fmt.Errorf("broken: %w: %s", m.Err, m.Text(nil))
	case len(args) > 1 && !match(args[1], string(m.Body)):
		return fmt.Errorf("the body is %q", m.Body)
	}
	return nil
}
