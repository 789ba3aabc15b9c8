package admin

import (
	"net/http"
)

// runtimeEntry is a key of /runtime: what holds, and what each layer says, "" where it says nothing.
type runtimeEntry struct {
	FinalValue  string   `json:"final_value"`
	LayerValues []string `json:"layer_values"`
}

func (s *Server) runtime(c *call) {
	var layers []RuntimeLayer
	if s.state.Layers != nil {
		layers = s.state.Layers()
	}
	entries, names := map[string]*runtimeEntry{}, make([]string, 0, len(layers))
	for i, layer := range layers {
		names = append(names, layer.Name)
		for key, value := range layer.Values {
			e := entries[key]
			if e == nil {
				e = &runtimeEntry{LayerValues: make([]string, len(layers))}
				entries[key] = e
			}
			e.LayerValues[i] = value
			if value != "" {
				e.FinalValue = value
			}
		}
	}
	c.json(map[string]any{"layers": names, "entries": entries})
}

func (s *Server) runtimeModify(c *call) {
	if len(c.query) == 0 {
		c.text(http.StatusBadRequest, "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n"+
			"       or send the parameters as form values\n"+
			"use an empty value to remove a previously added override")
		return
	}
	if s.state.SetRuntime == nil {
		c.text(http.StatusServiceUnavailable, "No admin layer specified")
		return
	}
	overrides := make(map[string]string, len(c.query))
	for _, p := range c.query {
		if _, twice := overrides[p.name]; !twice {
			overrides[p.name] = p.value
		}
	}
	if err := s.state.SetRuntime(overrides); err != nil {
		c.text(http.StatusServiceUnavailable, clean(err.Error()))
		return
	}
	c.ok()
}
