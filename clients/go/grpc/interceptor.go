// Package grpc puts a limiter in front of a gRPC server's methods.
package grpc

import (
	"context"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"ratelimit"
)

// Interceptor answers RESOURCE_EXHAUSTED where the limiter says no, and UNAVAILABLE where it is closed and the server could
// not be asked, both with a RetryInfo. The header of an answer has the RateLimit fields.
type Interceptor struct {
	Limiter *ratelimit.Limiter
	// Key names the caller: ByPeer, ByMetadata, or one of an identity that the application has checked.
	Key func(ctx context.Context, fullMethod string) string
	// Options of a call's hit, such as Cost or Deny.
	Options func(ctx context.Context, fullMethod string) []ratelimit.Option
	// Skip leaves a method alone, such as a health check.
	Skip func(ctx context.Context, fullMethod string) bool
	// GivesBack says whether a call that ended so is given back: of a login, only what failed counts.
	GivesBack func(err error) bool
	// PerMessage charges a stream's messages, and not only its beginning: each that is received is a hit, and the first
	// that does not fit ends the stream.
	PerMessage bool
}

// Unary is for grpc.ChainUnaryInterceptor.
func (i Interceptor) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		settle, err := i.hit(ctx, info.FullMethod, func(fields metadata.MD) error { return grpc.SetHeader(ctx, fields) })
		if err != nil {
			return nil, err
		}
		reply, err := handler(ctx, request)
		settle(err)
		return reply, err
	}
}

// Stream is for grpc.ChainStreamInterceptor.
func (i Interceptor) Stream() grpc.StreamServerInterceptor {
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx := stream.Context()
		settle, err := i.hit(ctx, info.FullMethod, stream.SetHeader)
		if err != nil {
			return err
		}
		if i.PerMessage && !i.skips(ctx, info.FullMethod) {
			stream = &perMessage{stream, i, info.FullMethod, false}
		}
		err = handler(server, stream)
		settle(err)
		return err
	}
}

// perMessage's first message was charged when the stream began.
type perMessage struct {
	grpc.ServerStream
	interceptor Interceptor
	method      string
	begun       bool
}

func (s *perMessage) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	if !s.begun {
		s.begun = true
		return nil
	}
	_, err := s.interceptor.hit(s.Context(), s.method, nil)
	return err
}

func (i Interceptor) skips(ctx context.Context, method string) bool {
	return i.Skip != nil && i.Skip(ctx, method)
}

// hit returns what is done when the call has ended.
func (i Interceptor) hit(ctx context.Context, method string, setHeader func(metadata.MD) error) (func(error), error) {
	nothing := func(error) {}
	if i.skips(ctx, method) {
		return nothing, nil
	}
	options := []ratelimit.Option{ratelimit.Next()}
	if i.Options != nil {
		options = append(options, i.Options(ctx, method)...)
	}
	if i.GivesBack != nil {
		options = append(options, ratelimit.Stamp())
	}
	key := i.Key(ctx, method)
	verdict := i.Limiter.Hit(ctx, key, options...)
	if setHeader != nil {
		_ = setHeader(fields(verdict)) // fails where the answer has begun, which is not to be limited by it
	}
	if !verdict.Allowed {
		return nil, denial(verdict)
	}
	if i.GivesBack == nil || verdict.Err != nil || verdict.Taken < 1 || verdict.Repeated {
		return nothing, nil
	}
	return func(err error) {
		if i.GivesBack(err) {
			i.Limiter.Hit(context.WithoutCancel(ctx), key, ratelimit.Cost(-verdict.Taken), ratelimit.At(verdict.ChargedAt))
		}
	}, nil
}

func fields(verdict ratelimit.Verdict) metadata.MD {
	header := http.Header{}
	ratelimit.SetHeaders(header, verdict)
	said := metadata.MD{}
	for field, values := range header {
		said[strings.ToLower(field)] = values
	}
	return said
}

func denial(verdict ratelimit.Verdict) error {
	code, message := codes.ResourceExhausted, "rate limit exceeded"
	if verdict.Err != nil {
		code, message = codes.Unavailable, "rate limit unavailable"
	}
	said := status.New(code, message)
	if verdict.RetryAfter >= 0 { // negative: never
		delay := durationpb.New(max(verdict.RetryAfter, time.Millisecond))
		if detailed, err := said.WithDetails(&errdetails.RetryInfo{RetryDelay: delay}); err == nil {
			said = detailed
		}
	}
	return said.Err()
}

// ByPeer is the address that a call came from: a proxy's, where there is one.
func ByPeer(ctx context.Context, _ string) string {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return ratelimit.ByAddress("")
	}
	return ratelimit.ByAddress(from.Addr.String())
}

// ByMetadata is a secret that callers send, such as an API key, hashed: check it before, or whoever makes one up has a
// limit of its own. Who sends none share one.
func ByMetadata(name string) func(ctx context.Context, fullMethod string) string {
	return func(ctx context.Context, _ string) string {
		sent := metadata.ValueFromIncomingContext(ctx, name)
		if len(sent) == 0 {
			return ratelimit.ByAPIKey("")
		}
		return ratelimit.ByAPIKey(sent[0])
	}
}
