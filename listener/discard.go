package listener

// Discard gives back what Compile has registered, of a Config that is not going to be put into effect. Its filter chains may live on
// in the Config that they were taken from.
func (c *Config) Discard() {
	if c.scope != nil {
		c.scope.Close()
	}
}
