package scripts

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weftproxy/weft/test/kit"
)

// errUsage is a step that is not in the language.
var errUsage = errors.New("no such step")

// step runs a step.
func (r *runner) step(s step) error {
	args := s.words[1:]
	switch s.words[0] {
	case "time": // runFile has seen to it
		return nil
	case "upstreams":
		r.names = args
		return nil
	case "wait":
		return r.wait(args)
	case "hide", "show":
		for _, name := range args {
			delete(r.hidden, name)
			if s.words[0] == "hide" {
				r.hidden[name] = ""
			}
		}
		return nil
	case "start":
		return r.start(s)
	case "upstream":
		return r.upstream(s)
	case "log":
		return r.log(s)
	case "stat":
		return r.stat(args)
	case "failures":
		return r.failures(s)
	case "admin":
		return r.admin(s)
	case "reload":
		return r.reload(s)
	case "signal":
		r.lab.Weft().Signal(map[string]syscall.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1}[args[0]])
		return nil
	case "ends":
		return r.lab.Weft().Wait()
	}
	return r.peer(s)
}

func (r *runner) wait(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	<-time.After(d)
	return nil
}

// config is the configuration that the files make, with some replaced by others.
func (r *runner) config(replaced map[string]string) string {
	file := func(name string) string {
		if other, ok := replaced[name]; ok {
			name = other
		}
		return r.files[name]
	}
	if whole := file("config.yaml"); whole != "" {
		return whole
	}
	return kit.HTTP{
		Listener: file("listener.yaml"), Manager: file("manager.yaml"), Routes: file("routes.yaml"), VirtualHosts: file("vhosts.yaml"),
		Table: file("table.yaml"), Clusters: file("clusters.yaml"), Top: file("top.yaml"), Upstreams: r.names,
	}.YAML()
}

func (r *runner) start(s step) error {
	if len(s.words) == 1 {
		r.lab.Start(r.config(nil))
		return nil
	}
	w, err := r.lab.TryStart(r.config(nil))
	if err == nil {
		return errors.New("it was not refused")
	}
	return contains(s.block, w.Output()+"\n"+err.Error())
}

// running starts Weft when it does not run yet.
func (r *runner) running() {
	if r.lab.Weft() == nil {
		r.lab.Start(r.config(nil))
	}
}

func (r *runner) log(s step) error {
	lines, err := r.lab.Log(s.words[1], len(trimEnd(s.block)))
	if err != nil {
		return err
	}
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\n")
	}
	return r.expect(s, lines)
}

func (r *runner) stat(args []string) error {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	r.running()
	return r.lab.Weft().WaitStat(args[0], n)
}

func (r *runner) failures(s step) error {
	all, err := r.lab.Weft().Failures()
	if err != nil {
		return err
	}
	for i, line := range trimEnd(s.block) {
		if i >= len(all) {
			return fmt.Errorf("there are only %d", len(all))
		}
		words, err := split(line)
		if err != nil {
			return err
		}
		for _, word := range words {
			key, want, _ := strings.Cut(word, "=")
			if got := fmt.Sprint(all[i][key]); !match(want, got) {
				return fmt.Errorf("%s is %q, want %q, in %v", key, got, want, all[i])
			}
		}
	}
	return nil
}

func (r *runner) admin(s step) error {
	r.running()
	status, body, err := r.lab.Weft().Admin(s.words[1], s.words[2])
	if err != nil {
		return err
	}
	if want := s.words[3]; strconv.Itoa(status) != want {
		return fmt.Errorf("%d, want %s: %s", status, want, body)
	}
	return contains(s.block, body)
}

func (r *runner) reload(s step) error {
	replaced := map[string]string{}
	refused := false
	for _, word := range s.words[1:] {
		if word == "refused" {
			refused = true
			continue
		}
		name, other, ok := strings.Cut(word, "=")
		if !ok {
			name, other = "config.yaml", word
		}
		replaced[name] = other
	}
	err := r.lab.Weft().Reload(r.config(replaced))
	if !refused || err == nil {
		if refused {
			return errors.New("it was accepted")
		}
		return err
	}
	return contains(s.block, err.Error())
}

// upstream is a step about an upstream.
func (r *runner) upstream(s step) error {
	if len(s.words) < 3 {
		return errUsage
	}
	u := r.lab.Upstream(s.words[1])
	switch args := s.words[3:]; s.words[2] {
	case "answers":
		return answers(u, s, args)
	case "refuses":
		u.Refuses()
	case "accepts":
		if len(args) == 0 {
			return u.Accepts()
		}
		p, err := u.Accept()
		if err != nil {
			return err
		}
		r.peers[args[1]] = &peer{p, true}
	case "hangs":
		return u.Hangs()
	case "drops":
		u.Drop(false)
	case "aborts":
		u.Drop(true)
	case "manual":
		u.Manual()
	case "saw":
		return r.saw(u, s, strings.Join(args, " "))
	default:
		return errUsage
	}
	return nil
}

// answers tells an upstream what to answer.
func answers(u *kit.Upstream, s step, args []string) error {
	var b []byte
	var err error
	switch {
	case len(args) > 0 && args[0] == "nothing":
		args = args[1:]
	case len(args) > 1 && len(args[0]) == 3 && args[0] >= "100" && args[0] <= "999":
		status, _ := strconv.Atoi(args[0]) // three digits
		b = reply(status, args[1], s.block)
		args = args[2:]
	default:
		if b, err = bytesOf(s.block); err != nil {
			return err
		}
	}
	how, always := "", false
	for _, word := range args {
		switch word {
		case "then":
		case "always":
			always = true
		default:
			how = word
		}
	}
	make, ok := map[string]func([]byte) kit.Answer{
		"": kit.Raw, "early": kit.Early, "dribbled": kit.Dribble, "closes": kit.ThenClose, "resets": kit.ThenReset,
		"holds": kit.ThenHold, "echoes": kit.ThenEcho,
	}[how]
	if !ok {
		return errUsage
	}
	if always {
		u.Otherwise(make(b))
	} else {
		u.Answer(make(b))
	}
	return nil
}

func reply(status int, body string, fields []string) []byte {
	b := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	for _, f := range trimEnd(fields) {
		b = append(append(b, f...), "\r\n"...)
	}
	if status != http.StatusNoContent && status != http.StatusNotModified && status >= http.StatusOK {
		b = fmt.Appendf(b, "content-length: %d\r\n", len(body))
	}
	return append(append(b, "\r\n"...), body...)
}

func (r *runner) saw(u *kit.Upstream, s step, what string) error {
	switch what {
	case "nothing":
		if n, _ := u.Received(); n != r.since[u.Name] {
			return fmt.Errorf("it saw %d bytes: %q", n-r.since[u.Name], raws(u.Left()))
		}
		return nil
	case "no request":
		for _, m := range u.Left() {
			if m.Err == nil {
				return fmt.Errorf("it saw %q", m.Raw)
			}
		}
		return nil
	}
	m, err := u.Next()
	if err != nil {
		return err
	}
	return r.expect(s, strings.Split(m.Text(r.hide), "\n"))
}

func raws(all []*kit.Message) []string {
	var out []string
	for _, m := range all {
		out = append(out, string(m.Raw))
	}
	return out
}
