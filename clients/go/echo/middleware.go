// Package echo puts a limiter in front of Echo's handlers.
package echo

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"ratelimit"
)

// Middleware is ratelimit.Middleware as Echo has it. An error of a handler is answered here, as its status decides what is
// skipped.
func Middleware(m ratelimit.Middleware) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c.SetRequest(r)
				if err := next(c); err != nil {
					c.Error(err)
				}
				if recorder, ok := w.(interface{ Note(status int) }); ok {
					recorder.Note(c.Response().Status)
				}
			})).ServeHTTP(c.Response(), c.Request())
			return nil
		}
	}
}
