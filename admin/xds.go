package admin

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Stream is what is known of one stream to a control plane, or of its polling, or of a file, for /xds.
type Stream struct {
	Source       string    // "ads", "cluster istiod", "/etc/weft/lds.yaml"
	Transport    string    // "grpc", "rest", "file"
	API          string    // "AGGREGATED_DELTA_GRPC", "GRPC", "REST", ...
	Method       string    // of gRPC, or the path of REST; "" for files
	Connected    bool      // for files and REST: the last reading succeeded
	Since        time.Time // when it connected or ceased to be; zero: it never was
	Streams      uint64    // how many there have been
	LastError    string    // "": there was none
	LastErrorAt  time.Time
	BackOff      time.Duration // the wait that it is in; 0: none
	ControlPlane string        // control_plane.identifier; "": not told
	Types        []StreamType
}

// A StreamType is the part of a Stream about one type of resources.
type StreamType struct {
	URL          string // type URL
	Names        int    // how many are asked for; the wildcard counts as one
	Wildcard     bool
	Version      string // of the last response that was accepted
	Nonce        string // of the last response
	LastRequest  time.Time
	LastResponse time.Time
	Pending      bool          // a request is to be sent
	Lag          time.Duration // from the arrival of the last response to its effect; 0: not measured
	LastNACK     string        // why the last response, or a part of it, was rejected; "": it was not
}

// lag is how long the last response took, or takes.
func (ty *StreamType) lag(now time.Time) time.Duration {
	if ty.Lag == 0 && ty.Pending && ty.LastResponse.After(ty.LastRequest) {
		return max(0, now.Sub(ty.LastResponse))
	}
	return ty.Lag
}

// streamView is a Stream as JSON.
type streamView struct {
	Source       string           `json:"source"`
	Transport    string           `json:"transport"`
	API          string           `json:"api"`
	Method       string           `json:"method,omitempty"`
	Connected    bool             `json:"connected"`
	Since        time.Time        `json:"since,omitzero"`
	Streams      uint64           `json:"streams"`
	LastError    string           `json:"last_error,omitempty"`
	LastErrorAt  time.Time        `json:"last_error_at,omitzero"`
	BackOffMS    float64          `json:"back_off_ms,omitempty"`
	ControlPlane string           `json:"control_plane,omitempty"`
	Types        []streamTypeView `json:"types"`
}

type streamTypeView struct {
	URL          string    `json:"type_url"`
	Names        int       `json:"names"`
	Wildcard     bool      `json:"wildcard"`
	Version      string    `json:"version"`
	Nonce        string    `json:"nonce"`
	LastRequest  time.Time `json:"last_request,omitzero"`
	LastResponse time.Time `json:"last_response,omitzero"`
	Pending      bool      `json:"pending"`
	LagMS        float64   `json:"lag_ms"`
	LastNACK     string    `json:"last_nack,omitempty"`
}

// xds answers /xds: the state of each stream to a control plane.
func (s *Server) xds(c *call) {
	if s.state.Streams == nil {
		c.missing("a control plane")
		return
	}
	streams := slices.Clone(s.state.Streams())
	slices.SortStableFunc(streams, func(a, b Stream) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.API, b.API), cmp.Compare(a.Transport, b.Transport))
	})
	now := time.Now()
	if c.get("format") == "json" {
		views := make([]streamView, len(streams))
		for i := range streams {
			views[i] = streams[i].view(now)
		}
		c.json(map[string]any{"streams": views})
		return
	}
	var b strings.Builder
	for i := range streams {
		streams[i].write(&b, now)
	}
	if len(streams) == 0 {
		b.WriteString("there are no streams\n")
	}
	c.text(http.StatusOK, b.String())
}

// write writes a stream as text: a line of its own, one for its error, and a table of its types.
func (st *Stream) write(b *strings.Builder, now time.Time) {
	b.WriteString(clean(st.Source+"  "+strings.TrimSpace(st.API+" "+st.Method)+"  "+st.stateText(now)) + "\n")
	if st.LastError != "" {
		b.WriteString("  last error " + clean(ago(now, st.LastErrorAt)+": "+st.LastError) + "\n")
	}
	if len(st.Types) > 0 {
		t := newTable("  TYPE", "WANTED", "VERSION", "NONCE", "REQUEST", "RESPONSE", "LAG")
		for i := range st.Types {
			ty := &st.Types[i]
			t.row("  "+shortType(ty.URL), ty.wanted(), ty.Version, ty.Nonce, ago(now, ty.LastRequest), ago(now, ty.LastResponse), lagText(ty.lag(now)))
		}
		_ = t.w.Flush() // into a strings.Builder
		b.WriteString(t.b.String())
	}
	for i := range st.Types {
		if ty := &st.Types[i]; ty.LastNACK != "" {
			b.WriteString("  rejected " + clean(shortType(ty.URL)+": "+ty.LastNACK) + "\n")
		}
	}
	b.WriteByte('\n')
}

func lagText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return short(d)
}

// wanted is how many resources are asked for.
func (ty *StreamType) wanted() string {
	switch {
	case !ty.Wildcard:
		return strconv.Itoa(ty.Names)
	case ty.Names <= 1:
		return "all"
	default:
		return "all and " + strconv.Itoa(ty.Names-1)
	}
}

// stateText is whether a stream is up, and since when.
func (st *Stream) stateText(now time.Time) string {
	if st.Connected {
		text := strings.TrimSpace("connected " + ago(now, st.Since))
		if st.ControlPlane != "" {
			text += " to " + st.ControlPlane
		}
		return text
	}
	text := strings.TrimSpace("disconnected " + ago(now, st.Since))
	if st.BackOff > 0 {
		text += ", next try within " + short(st.BackOff)
	}
	return text
}

func (st *Stream) view(now time.Time) streamView {
	v := streamView{
		Source: st.Source, Transport: st.Transport, API: st.API, Method: st.Method, Connected: st.Connected, Since: st.Since, Streams: st.Streams,
		LastError: st.LastError, LastErrorAt: st.LastErrorAt, BackOffMS: milliseconds(st.BackOff), ControlPlane: st.ControlPlane,
		Types: make([]streamTypeView, len(st.Types)),
	}
	for i := range st.Types {
		ty := &st.Types[i]
		v.Types[i] = streamTypeView{
			URL: ty.URL, Names: ty.Names, Wildcard: ty.Wildcard, Version: ty.Version, Nonce: ty.Nonce, LastRequest: ty.LastRequest,
			LastResponse: ty.LastResponse, Pending: ty.Pending, LagMS: milliseconds(ty.lag(now)), LastNACK: ty.LastNACK,
		}
	}
	return v
}

// shortType is a type URL without what all begin with: "Cluster", "ClusterLoadAssignment".
func shortType(url string) string { return url[strings.LastIndexAny(url, "./")+1:] }

// ago is how long a time is past, "" for none.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return short(max(0, now.Sub(t))) + " ago"
}
