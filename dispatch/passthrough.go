package dispatch

import (
	"context"

	"github.com/weftproxy/weft/exchange"
	"github.com/weftproxy/weft/message"
)

// Handle hands on.
func (passThrough) Handle(ctx context.Context, x *exchange.Exchange, next exchange.Next) (*message.Response, error) {
	return next.Handle(ctx, x)
}
