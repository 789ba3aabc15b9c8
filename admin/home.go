package admin

import (
	"html/template"
	"net/http"
	"time"
)

// homeView is what the page shows.
type homeView struct {
	Version, State string
	Uptime         time.Duration
	Node           string
	Groups         []homeGroup
}

type homeGroup struct {
	Title    string
	Commands []homeCommand
}

type homeCommand struct {
	Path, Help, Method string
	Post, Form         bool // Form: there are fields to fill in
	Fields             []homeField
}

type homeField struct {
	ID, Name, Help string
	Flag, Choice   bool
	Choices        []string
}

// home is the page a person begins at: every endpoint, with a form for those that take parameters or change something.
func (s *Server) home(c *call) {
	page, err := template.New("home").Parse(homePage)
	if err != nil {
		c.text(http.StatusInternalServerError, "the page cannot be shown\n")
		return
	}
	h := c.w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	c.head(http.StatusOK, "text/html; charset=UTF-8")
	_ = page.Execute(c.w, s.homeView()) // the peer is gone: nobody to tell
}

func (s *Server) homeView() homeView {
	view := homeView{
		Version: s.state.Info.Version, State: s.serverState().String(), Node: s.state.Info.Node.GetId(),
		Groups: make([]homeGroup, groupCount),
	}
	if !s.state.Info.Started.IsZero() {
		view.Uptime = since(s.state.Info.Started)
	}
	for g := range view.Groups {
		view.Groups[g].Title = group(g).String()
	}
	for i := range s.commands {
		cmd := &s.commands[i]
		v := homeCommand{Path: cmd.path, Help: cmd.help, Method: "get", Post: cmd.post, Form: !cmd.free && (cmd.post || len(cmd.params) > 0)}
		if cmd.post {
			v.Method = "post"
		}
		for _, p := range cmd.params {
			v.Fields = append(v.Fields, homeField{
				ID: cmd.path + "-" + p.name, Name: p.name, Help: p.help, Flag: p.kind == flagParam, Choice: p.kind == choiceParam, Choices: p.choices,
			})
		}
		g := &view.Groups[cmd.group]
		g.Commands = append(g.Commands, v)
	}
	return view
}
