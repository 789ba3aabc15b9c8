package forward

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
	"github.com/weftproxy/weft/observe"
	"github.com/weftproxy/weft/protocol"
)

// pieces is a request body that comes in pieces and can be paused.
type pieces struct {
	list   []string
	paused bool
	closed error
}

func (p *pieces) Next() ([]byte, error) {
	switch {
	case p.paused:
		return nil, message.ErrPaused
	case len(p.list) == 0:
		return nil, io.EOF
	}
	b := []byte(p.list[0])
	p.list = p.list[1:]
	return b, nil
}
func (p *pieces) Ready() bool              { return true }
func (p *pieces) Trailer() *message.Header { return nil }
func (p *pieces) Close(err error)          { p.closed = err }
func (p *pieces) Pause()                   { p.paused = true }
func (p *pieces) Resume()                  { p.paused = false }

func withBody(b message.Body, p exchange.RetryPolicy) func(x *exchange.Exchange) {
	return func(x *exchange.Exchange) {
		x.Request.Method, x.Request.Length, x.Request.Body = "POST", -1, b
		if p.On != 0 {
			policy(p)(x)
		}
	}
}

func TestBodiesAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, readBefore := range map[string]int{"nothing": 0, "a part": 1, "all": 9} {
			f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
				if q.try == 1 {
					for range readBefore {
						if _, err := q.Body.Next(); err != nil {
							break
						}
					}
					return nil, io.EOF
				}
				return answer(200, q.body()), nil
			})
			r := f.call(withBody(&pieces{list: []string{"one ", "two ", "three"}}, exchange.RetryPolicy{On: exchange.RetryReset})).run()
			if r.body != "one two three" {
				t.Errorf("%s was read before: the second attempt got %q", name, r.body)
			}
		}
	})
}

func TestABodyTooLargeToKeepIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) { return answer(503, q.body()), nil })
		c := f.call(func(x *exchange.Exchange) {
			withBody(&pieces{list: []string{"one ", "two ", "three"}}, exchange.RetryPolicy{On: exchange.Retry5xx})(x)
			x.Route.BufferLimit = 8
		})
		r := c.run()
		if r.body != "one two three" || len(f.net.seen()) != 1 || c.flags() != "-" {
			t.Errorf("%q after %d tries, %s", r.body, len(f.net.seen()), c.flags())
		}
		f.check("cluster.c.", "retry_or_shadow_abandoned 1 upstream_rq_retry 0")
	})
}

func TestAReusedConnectionThatWasClosedCostsNothing(t *testing.T) {
	stale := func(err error) handler {
		return func(_ context.Context, q *received) (*message.Response, error) {
			if q.used {
				return nil, err
			}
			return answer(200, "fine"), nil
		}
	}
	unsent := &protocol.BrokenError{Cause: syscall.EPIPE, NothingSent: true}
	eof := &protocol.BrokenError{Cause: io.EOF}
	for name, c := range map[string]struct {
		err    error
		method string
		edit   func(x *exchange.Exchange)
		status int
	}{
		"GET":                 {err: eof, method: "GET", status: 200},
		"GET, reset":          {err: &protocol.BrokenError{Cause: syscall.ECONNRESET}, method: "GET", status: 200},
		"POST":                {err: eof, method: "POST", status: 503},
		"POST, nothing sent":  {err: unsent, method: "POST", status: 200},
		"GET, part of a head": {err: &protocol.BrokenError{Cause: io.ErrUnexpectedEOF, HeadSeen: true}, method: "GET", status: 503},
		"GET, something else": {err: errors.New("no idea"), method: "GET", status: 503},
		"PUT, body recorded": {err: eof, method: "PUT", status: 200, edit: func(x *exchange.Exchange) {
			withBody(&pieces{list: []string{"b"}}, exchange.RetryPolicy{On: exchange.RetryConnectFailure})(x)
			x.Request.Method = "PUT"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, &routerv3.Router{}, stale(c.err))
				if r := f.call(nil).run(); r.Status != 200 {
					t.Fatal(r.Status)
				}
				call := f.call(func(x *exchange.Exchange) {
					x.Request.Method = c.method
					if c.edit != nil {
						c.edit(x)
					}
				})
				if r := call.run(); r.Status != c.status {
					t.Errorf("%d %q", r.Status, r.body)
				}
				f.check("cluster.c.", "upstream_rq_retry 0 upstream_rq_active 0")
			})
		})
	}
}

func TestNoRetryAfterAnInformationalResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []int
		f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
			var h message.Header
			if err := q.Informer.Inform(103, &h); err != nil {
				t.Error(err)
			}
			return answer(503, "no"), nil
		})
		f.call(func(x *exchange.Exchange) {
			policy(exchange.RetryPolicy{On: exchange.Retry5xx})(x)
			x.Request.Informer = informer(func(status int) { told = append(told, status) })
		}).run()
		if len(f.net.seen()) != 1 || !slices.Equal(told, []int{103}) {
			t.Errorf("%d tries, informed %v", len(f.net.seen()), told)
		}
		f.check("cluster.c.", "upstream_rq_103 1 upstream_rq_503 1")
	})
}

type informer func(status int)

func (i informer) Inform(status int, _ *message.Header) error { i(status); return nil }

func TestABrokenRequestIsNotTheUpstreamsFault(t *testing.T) {
	for name, c := range map[string]struct {
		err           error
		status        int
		details, flag string
	}{
		"malformed": {&protocol.Error{Status: 400, Details: "http1.codec_error"}, 400, "http1.codec_error", "DPE"},
		"gone":      {io.ErrUnexpectedEOF, 0, "downstream_remote_disconnect", "DC"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
				_, err := message.ReadAll(q.Body, 1<<20)
				return nil, &protocol.BodyError{Cause: err}
			})
			call := f.call(withBody(&cut{&pieces{list: []string{"x"}}, c.err}, exchange.RetryPolicy{On: exchange.Retry5xx}))
			r := call.run()
			if e := exchange.AsError(r.err); e.Status != c.status || e.Details != c.details || e.Flag.String() != c.flag {
				t.Errorf("%+v", e)
			}
			f.check("cluster.c.", "upstream_rq_502 0 upstream_rq_503 0 upstream_cx_protocol_error 0")
		})
	}
}

func TestTheAttemptCountAndExpectedTimeoutFollowTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts, expected []string
		f := newFixture(t, &routerv3.Router{}, func(ctx context.Context, q *received) (*message.Response, error) {
			counts = append(counts, q.Header.Get("x-envoy-attempt-count"))
			expected = append(expected, q.Header.Get("x-envoy-expected-rq-timeout-ms"))
			return wait(ctx)
		})
		f.call(func(x *exchange.Exchange) {
			policy(exchange.RetryPolicy{On: exchange.Retry5xx, PerTry: 2 * time.Second, Retries: 2, Base: time.Nanosecond, Max: time.Nanosecond})(x)
			x.Route.Timeout = 5 * time.Second
			x.Route.IncludeAttempt.Request = true
		}).run()
		if !slices.Equal(counts, []string{"1", "2", "3"}) || !slices.Equal(expected, []string{"2000", "2000", "1000"}) {
			t.Errorf("attempts %v, expected timeouts %v", counts, expected)
		}
	})
}

func TestAnEarlyAnswerIsRetriedWhileTheRequestStillComes(t *testing.T) {
	g := newGate()
	g.chunks <- "one "
	f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
		if q.try == 2 {
			return answer(200, q.body()), nil
		}
		first := make(chan struct{})
		done := make(chan struct{})
		go func() { // the pump, which the response's Close joins
			defer close(done)
			for {
				if _, err := q.Body.Next(); err != nil {
					return
				}
				select {
				case <-first:
				default:
					close(first)
				}
			}
		}()
		<-first
		r := answer(503, "")
		r.Body = &joined{Body: message.NoBody, q: q.Body, done: done, then: func() { g.chunks <- "two"; close(g.chunks) }}
		return r, nil
	})
	if r := f.call(withBody(g, exchange.RetryPolicy{On: exchange.Retry5xx})).run(); r.body != "one two" {
		t.Errorf("%d %q", r.Status, r.body)
	}
}

// joined is a response body whose Close waits for the pump of the request.
type joined struct {
	message.Body
	q    message.Body
	done chan struct{}
	then func()
	once sync.Once
}

func (j *joined) Close(cause error) {
	j.once.Do(func() {
		j.q.Close(cause)
		<-j.done
		j.then()
	})
}

// statuses is an access log of the upstreams' statuses.
type statuses []string

func (s *statuses) Log(e *observe.Entry) {
	text := "-"
	if e.Response != nil {
		text = strconv.Itoa(e.Response.Status)
	}
	*s = append(*s, e.Type.String()+" "+text)
}

func TestEachAttemptIsAnEntryOfTheUpstreamLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(_ context.Context, q *received) (*message.Response, error) {
			switch q.try {
			case 1:
				return nil, io.EOF
			case 2:
				return answer(503, ""), nil
			}
			return answer(200, ""), nil
		})
		var log statuses
		f.router.logs = append(f.router.logs, &log)
		f.call(policy(exchange.RetryPolicy{On: exchange.Retry5xx, Retries: 2})).run()
		if want := (statuses{"UpstreamEnd -", "UpstreamEnd 503", "UpstreamEnd 200"}); !slices.Equal(log, want) {
			t.Errorf("got %q", log)
		}
	})
}

func TestTheClustersMaxStreamDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, &routerv3.Router{}, func(ctx context.Context, _ *received) (*message.Response, error) { return wait(ctx) })
		f.table.Find("c").Config.HTTP.MaxStream = time.Second
		c := f.call(policy(exchange.RetryPolicy{On: exchange.RetryReset, Base: time.Nanosecond, Max: time.Nanosecond}))
		began := time.Now()
		r := c.run()
		if r.Status != 504 || r.body != "upstream max stream duration reached" || c.flags() != "URX,UMSDR" || time.Since(began) != 2*time.Second ||
			c.x.Record.Details != "upstream_max_stream_duration_reached" {
			t.Errorf("%d %q %s %s after %v", r.Status, r.body, c.flags(), c.x.Record.Details, time.Since(began))
		}
		f.check("cluster.c.", "upstream_rq_max_duration_reached 2 upstream_rq_timeout 0")

		f = newFixture(t, &routerv3.Router{}, func(ctx context.Context, _ *received) (*message.Response, error) {
			r := answer(200, "half")
			r.Length, r.Body = 8, &stuck{Body: r.Body, ctx: ctx}
			return r, nil
		})
		f.table.Find("c").Config.HTTP.MaxStream = time.Second
		if e := exchange.AsError(f.call(nil).run().broken); e.Flag.String() != "UMSDR" {
			t.Errorf("the body ended with %v", e)
		}
	})
}

type releases int

func (r *releases) Release(*message.Response) { *r++ }

func TestResponsesThatAreNotPassedOnAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n releases
		f := newFixture(t, &routerv3.Router{}, func(context.Context, *received) (*message.Response, error) {
			r := answer(503, "no")
			r.Owner = &n
			return r, nil
		})
		r := f.call(policy(exchange.RetryPolicy{On: exchange.Retry5xx, Retries: 2})).run()
		if n != 2 || r.Owner == nil {
			t.Errorf("%d of 3 responses were released, the last one belongs to the connection manager", n)
		}
	})
}
