package health

import (
	"bytes"
	"context"
	"errors"

	"github.com/weftproxy/weft/internal/scope"
)

var errPayload = errors.New("health: the answer does not hold what is expected")

// tcp checks by what the connection answers.
func (p *probe) tcp(ctx context.Context) outcome {
	t := p.c.Config.TCP
	if len(t.Send) == 0 && len(t.Receive) == 0 {
		p.close()
		return outcome{}
	}
	p.conn.Revive()
	watch := scope.OnCancel(ctx, p.conn)
	defer watch.Stop()
	if len(t.Send) > 0 {
		if _, err := p.conn.Write(t.Send); err != nil {
			return outcome{err: err, network: true}
		}
	}
	m := matcher{want: t.Receive}
	for !m.done() {
		if err := p.conn.Fill(); err != nil {
			return outcome{err: err, network: true}
		}
		b := p.conn.Buffered()
		m.feed(b)
		p.conn.Discard(len(b))
		p.conn.Release()
	}
	return outcome{}
}

// A matcher looks for byte strings in a stream, one after the other, with anything in between.
type matcher struct {
	want [][]byte
	tail []byte // what may be the beginning of want[0]
}

func (m *matcher) done() bool { return len(m.want) == 0 }

func (m *matcher) feed(b []byte) {
	b = append(m.tail, b...)
	for len(m.want) > 0 {
		i := bytes.Index(b, m.want[0])
		if i < 0 {
			keep := min(len(b), len(m.want[0])-1)
			m.tail = bytes.Clone(b[len(b)-keep:])
			return
		}
		b = b[i+len(m.want[0]):]
		m.want = m.want[1:]
	}
	m.tail = nil
}
