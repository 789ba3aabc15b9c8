package admin

import (
	"net/http"
	"strings"

	"github.com/weftproxy/weft/resource"
)

func (s *Server) healthFail(c *call) { s.setHealth(c, true) }
func (s *Server) healthOK(c *call)   { s.setHealth(c, false) }

func (s *Server) setHealth(c *call, failed bool) {
	if s.state.FailHealth == nil {
		c.missing("failing the health check")
		return
	}
	s.state.FailHealth(failed)
	c.ok()
}

func (s *Server) quit(c *call) {
	if s.state.Quit == nil {
		c.missing("quitting")
		return
	}
	c.ok()
	_ = http.NewResponseController(c.w).Flush() // before the process goes; nobody to tell if it fails
	s.state.Quit()
}

func (s *Server) reopenLogs(c *call) {
	if s.state.ReopenLogs == nil {
		c.missing("reopening logs")
		return
	}
	s.state.ReopenLogs()
	c.ok()
}

func (s *Server) drainListeners(c *call) {
	if s.state.Drain == nil {
		c.missing("draining")
		return
	}
	graceful, skipExit := c.has("graceful"), c.has("skip_exit")
	if skipExit && !graceful {
		c.text(http.StatusBadRequest, "skip_exit requires graceful\n")
		return
	}
	s.state.Drain(graceful, c.has("inboundonly"), skipExit)
	c.ok()
}

// reload answers 200 when the configuration is in force, with the warnings it gave, and 400 with every problem when it is not.
func (s *Server) reload(c *call) {
	if s.state.Reload == nil {
		c.missing("reloading")
		return
	}
	problems, err := s.state.Reload(c.r.Context())
	var b strings.Builder
	failed := err != nil
	for _, p := range problems {
		failed = failed || p.Severity == resource.Error
		b.WriteString(clean(p.String()) + "\n")
	}
	if err != nil {
		b.WriteString(clean(err.Error()) + "\n")
	}
	if failed {
		c.text(http.StatusBadRequest, "nothing was changed:\n"+b.String())
		return
	}
	c.text(http.StatusOK, b.String()+"OK\n")
}
