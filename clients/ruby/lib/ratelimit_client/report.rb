# frozen_string_literal: true

require "logger"
require_relative "connection"

module RatelimitClient
  # For metrics: one for each hit. `outcome` is :allowed or :denied, or where Redis gave no answer :open or :closed, with the
  # `reason`.
  HitEvent = Struct.new(:limiter, :outcome, :reason, :duration, keyword_init: true)

  # What a verdict hides is said: which limiter let whom through uncounted, and why. One line a second at most.
  class Report
    def initialize(logger: nil, on_error: nil, on_hit: nil)
      { logger: [logger, :warn], on_error: [on_error, :call], on_hit: [on_hit, :call] }.each do |name, (given, method)|
        raise ArgumentError, "#{name}: expected an object with ##{method}" unless given.nil? || given.respond_to?(method)
      end
      @logger = logger || Logger.new($stderr, progname: "ratelimit")
      @on_error = on_error
      @on_hit = on_hit
      @mutex = Mutex.new
      @next_line = 0
      @kept = 0
    end

    def error(limiter, error)
      count = @mutex.synchronize do
        @kept += 1
        now = Deadline.now
        next 0 if now < @next_line

        @next_line = now + 1
        @kept.tap { @kept = 0 }
      end
      alike = count > 1 ? " (and #{count - 1} more since the last line)" : ""
      guarded { @logger.warn("rate limiter #{limiter.inspect}: #{error.reason}: #{error.message}#{alike}") } if count.positive?
      guarded { @on_error.call(error) } if @on_error
    end

    def hit(limiter, outcome, reason, begun)
      return unless @on_hit

      event = HitEvent.new(limiter: limiter, outcome: outcome, reason: reason, duration: Deadline.now - begun)
      guarded { @on_hit.call(event) }
    end

    private

    # A hook of the application's that raises must not turn into a failed hit.
    def guarded
      yield
    rescue StandardError => e
      warn "rate limiter: a hook has raised: #{e.message}"
    end
  end
end
