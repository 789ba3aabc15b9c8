package xds

import "time"

// A StreamState is what is known of one stream to a source, or of its polling or its file.
type StreamState struct {
	Source       string        `json:"source"`    // "ads", "cluster xds", "/etc/weft/lds.yaml"
	Transport    string        `json:"transport"` // "grpc", "rest", "file"
	API          string        `json:"api"`       // "AGGREGATED_DELTA_GRPC", "GRPC", "REST", ...
	Method       string        `json:"method"`    // of gRPC, or the path of REST; empty for files
	Connected    bool          `json:"connected"`
	Since        time.Time     `json:"since"` // when it connected or ceased to be
	Streams      uint64        `json:"streams"`
	LastError    string        `json:"last_error,omitempty"`
	LastErrorAt  time.Time     `json:"last_error_at,omitzero"`
	BackOff      time.Duration `json:"back_off_ns,omitempty"` // the wait that it is in; 0 when there is none
	ControlPlane string        `json:"control_plane,omitempty"`
	Types        []TypeState   `json:"types"`
}

// A TypeState is the part of a StreamState about one type of resources.
type TypeState struct {
	Type         string    `json:"type"` // resource.Cluster, ...
	URL          string    `json:"type_url"`
	Names        int       `json:"names"` // how many are asked for; the wildcard counts as one
	Wildcard     bool      `json:"wildcard"`
	Version      string    `json:"version"`
	Nonce        string    `json:"nonce"`
	LastRequest  time.Time `json:"last_request,omitzero"`
	LastResponse time.Time `json:"last_response,omitzero"`
	Pending      bool      `json:"pending"` // a request is to be sent
	LastNACK     string    `json:"last_nack,omitempty"`
}

// Streams returns the state of every stream, ordered by source and type.
func (c *Client) Streams() []StreamState {
	c.mu.Lock()
	from := make([]runner, 0, len(c.running))
	for _, w := range c.running {
		from = append(from, w.from)
	}
	c.mu.Unlock()
	var out []StreamState
	for _, r := range from {
		out = append(out, r.states()...)
	}
	sortStates(out)
	return out
}
