package dispatch

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"testing"
	"time"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftproxy/weft/conn"
	"github.com/weftproxy/weft/extension"
	"github.com/weftproxy/weft/observe/stats"
	"github.com/weftproxy/weft/protocol"
	"github.com/weftproxy/weft/protocol/http2"
)

func TestHTTP2Options(t *testing.T) {
	defaults := http2.ServerOptions{
		Options:     http2.Options{MaxHeaderBytes: 60 << 10, MaxHeaders: 100},
		IdleTimeout: time.Hour, DrainTime: 5 * time.Second, DelayedClose: time.Second,
	}
	with := func(change func(*http2.ServerOptions)) http2.ServerOptions {
		o := defaults
		change(&o)
		return o
	}
	for _, tt := range []struct {
		cfg     string
		runtime map[string]string
		want    http2.ServerOptions
	}{
		{``, nil, defaults},
		{`"maxRequestHeadersKb": 8, "requestHeadersTimeout": "3s", "drainTimeout": "7s", "delayedCloseTimeout": "0s",
			"commonHttpProtocolOptions": {"idleTimeout": "9s", "maxConnectionDuration": "60s", "maxHeadersCount": 5, "maxRequestsPerConnection": 4}`, nil,
			http2.ServerOptions{Options: http2.Options{MaxHeaderBytes: 8 << 10, MaxHeaders: 5}, IdleTimeout: 9 * time.Second, HeadersTimeout: 3 * time.Second,
				MaxDuration: time.Minute, MaxRequests: 4, DrainTime: 7 * time.Second}},
		{`"http2ProtocolOptions": {"allowConnect": true, "maxConcurrentStreams": 12}`, nil,
			with(func(o *http2.ServerOptions) { o.AllowConnect, o.MaxStreams = true, 12 })},
		{`"commonHttpProtocolOptions": {"headersWithUnderscoresAction": "REJECT_REQUEST"}`, nil,
			with(func(o *http2.ServerOptions) { o.Underscores = http2.RejectUnderscores })},
		{`"commonHttpProtocolOptions": {"headersWithUnderscoresAction": "DROP_HEADER"}`, nil,
			with(func(o *http2.ServerOptions) { o.Underscores = http2.DropUnderscores })},
		{`"streamErrorOnInvalidHttpMessage": true`, nil, with(func(o *http2.ServerOptions) { o.StreamErrors = true })},
		{`"streamErrorOnInvalidHttpMessage": false, "http2ProtocolOptions": {"streamErrorOnInvalidHttpMessaging": true}`, nil, defaults},
		{`"streamErrorOnInvalidHttpMessage": true, "http2ProtocolOptions": {"overrideStreamErrorOnInvalidHttpMessage": false}`, nil, defaults},
		{`"http2ProtocolOptions": {"overrideStreamErrorOnInvalidHttpMessage": true}`, nil, with(func(o *http2.ServerOptions) { o.StreamErrors = true })},
		{``, map[string]string{resetCountKey: "20", resetAgeKey: "3"},
			with(func(o *http2.ServerOptions) { o.ResetCount, o.ResetAge = 20, 3*time.Second })},
		{``, map[string]string{resetCountKey: "many", resetAgeKey: "-1"}, defaults},
	} {
		m := &hcmv3.HttpConnectionManager{}
		if err := protojson.Unmarshal([]byte("{"+tt.cfg+"}"), m); err != nil {
			t.Fatal(err)
		}
		runtime := &extension.Runtime{}
		runtime.Set(tt.runtime)
		if got := compileHTTP2(runtime, m); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s %v:\n got %+v\nwant %+v", tt.cfg, tt.runtime, got, tt.want)
		}
	}
}

// A script is a codec that ends each connection with the next of its errors.
type script []error

func (s *script) Serve(context.Context, *conn.Conn, protocol.StreamHandler) error {
	err := (*s)[0]
	*s = (*s)[1:]
	return err
}

// manager returns a Dispatcher whose HTTP/1 or HTTP/2 codec is a script.
func manager(http2 bool, ends ...error) (*Dispatcher, *Stats) {
	group := stats.NewGroup[Stats](stats.NewStore(stats.Options{}).Scope("http.test."))
	codec := script(ends)
	return &Dispatcher{stats: group, server: &counted{&codec, group, http2}}, group.Lane(0)
}

func connection(t testing.TB) *conn.Conn {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return conn.New(near)
}

func TestConnectionsAreCountedByProtocol(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		d, st := manager(http2, conn.ErrParked, conn.ErrParked, io.EOF, io.EOF)
		mine, total := &st.CxHTTP1Active, &st.CxHTTP1Total
		others, othersTotal := &st.CxHTTP2Active, &st.CxHTTP2Total
		if http2 {
			mine, total, others, othersTotal = others, othersTotal, mine, total
		}
		c := connection(t)
		for i, want := range []int64{1, 1, 0} {
			_ = d.ServeConn(t.Context(), c)
			if mine.Value() != want || st.CxActive.Value() != want || total.Value() != 1 || st.CxTotal.Value() != 1 {
				t.Errorf("after call %d: %d active of %d, %d of %d of this protocol", i, st.CxActive.Value(), st.CxTotal.Value(), mine.Value(), total.Value())
			}
			c.IdleSince = 1
		}
		if st.CxSSLTotal.Value() != 0 {
			t.Errorf("%d connections in TLS", st.CxSSLTotal.Value())
		}
		c = connection(t)
		c.Info().TLS = &conn.TLS{}
		_ = d.ServeConn(t.Context(), c)
		if st.CxSSLTotal.Value() != 1 || st.CxSSLActive.Value() != 0 {
			t.Errorf("%d active of %d connections in TLS", st.CxSSLActive.Value(), st.CxSSLTotal.Value())
		}
		if mine.Value() != 0 || total.Value() != 2 || others.Value() != 0 || othersTotal.Value() != 0 {
			t.Errorf("%d active of %d, and %d of %d of the other", mine.Value(), total.Value(), others.Value(), othersTotal.Value())
		}
	}
}

func TestEndsOfConnectionsAreCounted(t *testing.T) {
	for _, tt := range []struct {
		end  error
		want func(*Stats) *stats.Counter
	}{
		{protocol.ErrIdleTimeout, func(s *Stats) *stats.Counter { return &s.CxIdleTimeout }},
		{protocol.ErrHeadersTimeout, func(s *Stats) *stats.Counter { return &s.RqHeaderTimeout }},
		{protocol.ErrMaxDuration, func(s *Stats) *stats.Counter { return &s.CxMaxDuration }},
		{protocol.ErrMaxRequests, func(s *Stats) *stats.Counter { return &s.CxMaxRequests }},
		{conn.ErrDraining, func(s *Stats) *stats.Counter { return &s.CxDrainClose }},
		{&protocol.Error{Details: "http2.violation"}, func(s *Stats) *stats.Counter { return &s.CxProtocolError }},
		{io.EOF, func(s *Stats) *stats.Counter { return &s.CxDestroyRemote }},
		{protocol.ErrPeerGone, func(s *Stats) *stats.Counter { return &s.CxDestroyRemoteRq }},
		{errors.New("else"), func(s *Stats) *stats.Counter { return &s.CxDestroyLocal }},
	} {
		d, st := manager(true, tt.end)
		if err := d.ServeConn(t.Context(), connection(t)); err != tt.end {
			t.Error(err)
		}
		if n := tt.want(st).Value(); n != 1 {
			t.Errorf("%v is counted %d times", tt.end, n)
		}
		if st.CxDestroy.Value() != 1 || st.CxDestroyLocal.Value()+st.CxDestroyRemote.Value() != 1 {
			t.Errorf("%v: destroyed %d, by us %d, by the peer %d", tt.end, st.CxDestroy.Value(), st.CxDestroyLocal.Value(), st.CxDestroyRemote.Value())
		}
	}
}
