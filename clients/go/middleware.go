package ratelimit

import (
	"context"
	"net/http"
)

// Middleware stands in front of a handler: 429 where the limiter says no, 503 where it is closed and the server could
// not be asked.
type Middleware struct {
	Limiter *Limiter
	// Key names the caller of a request: ByIP, ByUser.
	Key func(*http.Request) string
	// Login, in the place of Limiter, Key and Options, counts a try for both that Credentials reads from the request: its address and its account.
	Login       *Login
	Credentials func(*http.Request) Credentials
	// Options of a request's hit, such as Cost or Deny.
	Options func(*http.Request) []Option
	// Skip leaves a request alone. A browser's preflight (OPTIONS) is never charged.
	Skip func(*http.Request) bool
	// Denied answers in the place of the plain text. The fields are written already; status is 429 or 503.
	Denied func(w http.ResponseWriter, r *http.Request, status int, verdict Verdict)
	// SkipFailed gives a hit back whose answer has a status of 400 or more, SkipSuccessful one of less: of a login, only
	// what failed counts.
	SkipFailed, SkipSuccessful bool
}

// Middleware is one with a key and nothing else.
func (l *Limiter) Middleware(key func(*http.Request) string, next http.Handler) http.Handler {
	return Middleware{Limiter: l, Key: key}.Handler(next)
}

// Handler puts the limiter in front. It panics where m does not say who is limited by what.
func (m Middleware) Handler(next http.Handler) http.Handler {
	ofLogin := m.Login != nil && m.Credentials != nil && m.Limiter == nil && m.Key == nil && m.Options == nil
	if ofKey := m.Limiter != nil && m.Key != nil && m.Login == nil && m.Credentials == nil; !ofLogin && !ofKey {
		panic("ratelimit: Middleware: expected a Limiter and a Key (and Options), or a Login and Credentials")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" || m.Skip != nil && m.Skip(r) {
			next.ServeHTTP(w, r)
			return
		}
		verdict, giveBack := m.count(r)
		SetHeaders(w.Header(), verdict)
		expose(w.Header())
		if !verdict.Allowed {
			status := http.StatusTooManyRequests
			if verdict.Err != nil {
				status = http.StatusServiceUnavailable
			}
			if m.Denied != nil {
				m.Denied(w, r, status, verdict)
			} else {
				http.Error(w, http.StatusText(status), status)
			}
			return
		}
		if giveBack == nil {
			next.ServeHTTP(w, r)
			return
		}
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(recorder, r)
		failed := recorder.status >= http.StatusBadRequest
		if failed && m.SkipFailed || !failed && m.SkipSuccessful {
			giveBack(context.WithoutCancel(r.Context()))
		}
	})
}

// count counts a request; what gives it back is nil where nothing is given back, whatever the answer.
func (m Middleware) count(r *http.Request) (Verdict, func(context.Context)) {
	givesBack := m.SkipFailed || m.SkipSuccessful
	if m.Login != nil {
		attempt := m.Login.Hit(r.Context(), m.Credentials(r))
		if !givesBack {
			return attempt.Verdict.Verdict(), nil
		}
		return attempt.Verdict.Verdict(), attempt.GiveBack
	}
	options := []Option{Next()}
	if m.Options != nil {
		options = append(options, m.Options(r)...)
	}
	if givesBack {
		options = append(options, Stamp())
	}
	key := m.Key(r)
	verdict := m.Limiter.Hit(r.Context(), key, options...)
	if !givesBack || verdict.Err != nil || verdict.Taken < 1 || verdict.Repeated {
		return verdict, nil
	}
	return verdict, func(ctx context.Context) { m.Limiter.Hit(ctx, key, Cost(-verdict.Taken), At(verdict.ChargedAt)) }
}

// statusRecorder notes the status of an answer. http.ResponseController finds the writer beneath it.
type statusRecorder struct {
	http.ResponseWriter
	status  int
	written bool
}

func (s *statusRecorder) WriteHeader(status int) {
	if !s.written && status >= http.StatusOK {
		s.status, s.written = status, true
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusRecorder) Write(body []byte) (int, error) {
	s.written = true
	return s.ResponseWriter.Write(body)
}

// Note is for frameworks whose handlers write past the writer that they are given: what was answered.
func (s *statusRecorder) Note(status int) { s.status, s.written = status, true }

func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }
