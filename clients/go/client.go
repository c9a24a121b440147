package ratelimit

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Client sends the commands of limiters and leasers. It is safe for concurrent use; make one for a program.
type Client struct {
	redis interface {
		Process(ctx context.Context, cmd redis.Cmder) error
	}
	close func() error
}

// NewClient makes a client of a *redis.Client (also one of a Sentinel), a *redis.ClusterClient or a *redis.Ring.
//
// go-redis heeds a context's deadline while it waits for a reply only where its option ContextTimeoutEnabled is set.
// Where it is not, this opens connections of its own with the same options and that one; Close closes them.
func NewClient(client redis.UniversalClient) (*Client, error) {
	none := func() error { return nil }
	switch c := client.(type) {
	case *redis.Client:
		if c == nil {
			break
		}
		if c.Options().ContextTimeoutEnabled {
			return &Client{c, none}, nil
		}
		options := *c.Options()
		options.ContextTimeoutEnabled = true
		options.PushNotificationProcessor = nil // the caller's client has filled it; this one fills its own
		own := redis.NewClient(&options)
		return &Client{own, own.Close}, nil
	case *redis.ClusterClient:
		if c == nil {
			break
		}
		if c.Options().ContextTimeoutEnabled {
			return &Client{c, none}, nil
		}
		options := *c.Options()
		options.ContextTimeoutEnabled = true
		own := redis.NewClusterClient(&options)
		return &Client{own, own.Close}, nil
	case *redis.Ring:
		if c == nil {
			break
		}
		if c.Options().ContextTimeoutEnabled {
			return &Client{c, none}, nil
		}
		options := *c.Options()
		options.ContextTimeoutEnabled = true
		own := redis.NewRing(&options)
		return &Client{own, own.Close}, nil
	}
	return nil, fmt.Errorf("ratelimit: expected a *redis.Client, *redis.ClusterClient or *redis.Ring, got %T", client)
}

// Close closes the connections that NewClient opened; the caller's own client stays open.
func (c *Client) Close() error { return c.close() }

// command is sent once. go-redis sends a command again when its connection breaks, up to four times by default, and a
// hit whose reply was lost would be charged each time. (A redirection in a cluster was not carried out, and is followed.)
type command struct{ *redis.Cmd }

// NoRetry is asked by go-redis.
func (command) NoRetry() bool { return true }

type numbersCommand struct{ *redis.IntSliceCmd }

func (numbersCommand) NoRetry() bool { return true }

// numbers is do of a command whose reply has numbers alone, which are read as such.
func (c *Client) numbers(ctx context.Context, words []any, firstKey int8) ([]int64, error) {
	cmd := numbersCommand{redis.NewIntSliceCmd(ctx, words...)}
	cmd.SetFirstKeyPos(firstKey)
	if err := c.redis.Process(ctx, cmd); err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

// do sends words, whose first key stands at the given place.
func (c *Client) do(ctx context.Context, words []any, firstKey int8) (any, error) {
	cmd := command{redis.NewCmd(ctx, words...)}
	cmd.SetFirstKeyPos(firstKey)
	if err := c.redis.Process(ctx, cmd); err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}
