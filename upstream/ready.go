package upstream

// Ready returns a channel that is closed once every endpoint was resolved, the first assignment of EDS and the secrets of the transport
// sockets have come, or cannot be waited for any longer, and every host was checked for the first time.
func (c *Cluster) Ready() <-chan struct{} {
	if c.ready == nil {
		return always
	}
	return c.ready
}

// always is closed. Immutable.
var always = func() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

// WhenReady calls f once when the cluster is ready, at once if it is. Otherwise whoever makes it ready calls: f must not block, and must
// not start, drain or close a cluster. Of a cluster that is closed before it is ready f is never called.
func (c *Cluster) WhenReady(f func()) {
	if c.ready != nil {
		c.mu.Lock()
		if !c.warm {
			c.then = append(c.then, f)
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
	f()
}

// awaited reports whether there is anything that Ready has to wait for.
func (c *Cluster) awaited() bool {
	if c.Config.Type == Static && c.Config.Health != nil {
		return true
	}
	return c.Config.WaitForWarm && (c.Config.Type != Static || len(c.secrets) > 0)
}

// settled notes that one of the things that Ready waits for has happened.
func (c *Cluster) settled() {
	c.mu.Lock()
	c.unready--
	then := c.maybeReady()
	c.mu.Unlock()
	for _, f := range then {
		f()
	}
}

// maybeReady closes ready when nothing is left to wait for, and returns whom to tell once mu is free. mu is held.
func (c *Cluster) maybeReady() (then []func()) {
	if c.unready > 0 || c.ready == nil || c.warm {
		return nil
	}
	c.warm = true
	close(c.ready)
	then, c.then = c.then, nil
	return then
}

// hold makes the cluster's resources wanted. Each of them is one of the things that Ready waits for.
func (c *Cluster) hold() {
	c.holding.Lock()
	defer c.holding.Unlock()
	if c.draining.Load() {
		return
	}
	c.held = true
	for _, w := range c.secrets {
		w.WhenReady(c.settled)
		w.Hold()
	}
	if c.eds != nil {
		c.eds.watch.WhenReady(c.settled)
		c.eds.watch.Hold()
	}
}

// release ends what hold began.
func (c *Cluster) release() {
	c.holding.Lock()
	defer c.holding.Unlock()
	if !c.held {
		return
	}
	c.held = false
	for _, w := range c.secrets {
		w.Release()
	}
	if c.eds != nil {
		c.eds.watch.Release()
		c.mu.Lock()
		c.eds.stop()
		c.mu.Unlock()
	}
}

// resources returns how many things hold makes wanted.
func (c *Cluster) resources() int {
	if c.eds != nil {
		return len(c.secrets) + 1
	}
	return len(c.secrets)
}
