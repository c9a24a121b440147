# frozen_string_literal: true

# Under rack-attack: its throttles, tracks, fail2ban and allow2ban, decided by the server.
#
#   Rack::Attack.cache.store = RatelimitClient::RackAttack.new(Redis.new)
#
# A store is asked to count, and is not told of what: so a throttle asks this one with its limit and its period.

require "rack/attack"
require_relative "report"
require_relative "server"

module RatelimitClient
  class RackAttack
    ALGORITHMS = %w[sliding fixed bucket].freeze
    MAX_UNITS = (2**53) - 1
    MAX_PERIOD = 3660 * 86_400

    def initialize(client, algorithm: "sliding", unavailable: "open", timeout: 1, logger: nil, on_error: nil, on_hit: nil)
      raise ArgumentError, "algorithm: expected one of #{ALGORITHMS.join(", ")}" unless ALGORITHMS.include?(algorithm.to_s)
      raise ArgumentError, "unavailable: expected open or closed" unless %w[open closed].include?(unavailable.to_s)
      raise ArgumentError, "timeout: expected seconds above 0" unless timeout.is_a?(Numeric) && timeout.positive?

      @algorithm = algorithm.to_s.upcase
      @is_open = unavailable.to_s == "open"
      @connections = Connections.new(Server.of(client), timeout)
      @report = Report.new(logger: logger || (defined?(::Rails) && ::Rails.respond_to?(:logger) && ::Rails.logger) || nil,
                           on_error: on_error, on_hit: on_hit)
    end

    # Of a throttle whose limit or period is a proc only what the proc says is known, at each request.
    def check(throttle)
      raise ArgumentError, "throttle #{throttle.name.inspect}: expected a throttle's name of at most 128 bytes, prefix and all" if key(throttle.name).bytesize > 128

      units(throttle.name, throttle.limit) unless throttle.limit.respond_to?(:call)
      duration("throttle #{throttle.name.inspect}: period", throttle.period) unless throttle.period.respond_to?(:call)
    end

    # One request: what rack-attack calls a throttle's data. `count` is above `limit` where it is denied.
    def throttle(throttle, discriminator, limit, period)
      limit = units(throttle.name, limit)
      window = duration("throttle #{throttle.name.inspect}: period", period)
      limits = @algorithm == "BUCKET" ? [limit, limit, window] : [limit, window]
      is_open = @is_open || throttle.type == :track
      # With its algorithm: a key of another one would be refused, after a change of it until a period has passed.
      five, error = hit(throttle.name, is_open, "RL.#{@algorithm}", key(@algorithm.downcase, throttle.name, discriminator), *limits,
                        "POLICY", key(throttle.name))
      data = { discriminator: discriminator, period: period, epoch_time: Time.now.to_i }
      return data.merge(count: is_open ? 0 : limit + 1, limit: limit, error: error) if error

      allowed, limit, remaining, retry_ms, reset_ms = five
      data.merge(count: allowed == 1 ? limit - remaining : limit + 1, limit: limit, remaining: remaining,
                 retry_after: retry_ms.negative? ? nil : (retry_ms / 1000.0).ceil, reset_after: (reset_ms / 1000.0).ceil)
    end

    # Fail2Ban, Allow2Ban. A look without cost meets nothing but a block.
    def banned?(kind, discriminator)
      five, error = hit(kind, @is_open, "RL.PEEK", "SLIDING", key(kind, discriminator), MAX_UNITS, "1s", "COST", 0)
      error ? !@is_open : five[0].zero?
    end

    # The failure that is one too many is the one that is denied, and starts the ban.
    def fail!(kind, discriminator, maxretry:, findtime:, bantime:)
      bans = Array(bantime).map { |time| duration("#{kind}: bantime", time) }
      find = duration("#{kind}: findtime", findtime)
      unless maxretry.is_a?(Integer) && maxretry.positive? && bans.size.between?(1, maxretry == 1 ? 1 : 8)
        raise ArgumentError, "#{kind}: expected a maxretry of 1 or more, and a bantime, or of a maxretry above 1 up to 8 of them"
      end

      if maxretry == 1
        said(kind) { ask(["RL.BLOCK", key(kind, discriminator), bans[0]]) }
      else
        hit(kind, @is_open, "RL.SLIDING", key(kind, discriminator), maxretry - 1, find, "BLOCK", *bans)
      end
    end

    def reset(kind, discriminator)
      ask(["DEL", key(kind, discriminator)])
    end

    # What else there is of a store: for `Rack::Attack.cache` in an application's own words. Nil where Redis gave no answer, as
    # with the library's own.
    def read(key) = said(key) { ask(["GET", key])&.force_encoding(Encoding::UTF_8) }
    def delete(key, _options = nil) = said(key) { ask(["DEL", key]) }

    def write(key, value, options = {})
      seconds = options[:expires_in]
      said(key) { ask(["SET", key, value, *(["PX", (seconds.to_f * 1000).ceil] if seconds)]) }
    end

    def increment(key, amount, options = {})
      seconds = options[:expires_in]
      said(key) { ask(["INCRBY", key, amount], *([["PEXPIRE", key, (seconds.to_f * 1000).ceil]] if seconds)) }
    end

    # `Rack::Attack.reset!`: everything that begins with the prefix.
    def delete_matched(matcher, _options = nil)
      pattern = matcher.is_a?(Regexp) ? matcher.source : matcher
      cursor = "0"
      loop do
        cursor, keys = ask(["SCAN", cursor, "MATCH", pattern, "COUNT", 1000])
        ask(["DEL", *keys]) unless keys.empty?
        break if cursor == "0"
      end
    end

    private

    def key(*parts) = [Rack::Attack.cache.prefix, *parts].join(":")

    # The first command's reply; of an error of the server's, that.
    def ask(*commands)
      reply = @connections.call(*commands).first
      reply.is_a?(Error) ? raise(reply) : reply
    end

    # The five numbers, or why there are none.
    def hit(limiter, is_open, *words)
      begun = Deadline.now
      five = ask(words)
      unless five.is_a?(Array) && five.size == 5 && five.all?(Integer) && five[0].between?(0, 1)
        raise Error.new(:refused, "not a reply of this module: #{five.inspect[0, 100]}")
      end

      @report.hit(limiter, five[0] == 1 ? :allowed : :denied, nil, begun)
      [five, nil]
    rescue Error => e
      @report.error(limiter, e)
      @report.hit(limiter, is_open ? :open : :closed, e.reason, begun)
      [nil, e]
    end

    def said(limiter)
      yield
    rescue Error => e
      @report.error(limiter, e)
      nil
    end

    def units(name, limit)
      limit = MAX_UNITS if limit == Float::INFINITY
      return limit.to_i if limit.is_a?(Numeric) && limit.to_f.between?(0, MAX_UNITS)

      raise ArgumentError, "throttle #{name.inspect}: limit: expected 0 to 2^53-1, got #{limit.inspect}"
    end

    def duration(name, seconds)
      # ActiveSupport's durations are no numbers, but say how many seconds they are.
      length = seconds.respond_to?(:to_f) ? seconds.to_f : 0.0
      return "#{(length * 1000).round}ms" if length.between?(0.001, MAX_PERIOD)

      raise ArgumentError, "#{name}: expected seconds, 0.001 to #{MAX_PERIOD}, got #{seconds.inspect}"
    end

    # The store, where it is one of these.
    def self.in(cache) = cache.store.is_a?(self) ? cache.store : nil

    module Throttle
      def initialize(name, options, &block)
        super
        RackAttack.in(cache)&.check(self)
      end

      def matched_by?(request)
        return super unless (store = RackAttack.in(cache))
        return false unless (discriminator = discriminator_for(request))

        data = store.throttle(self, discriminator, limit_for(request), period_for(request))
        annotate_request_with_throttle_data(request, data)
        return false if data[:count] <= data[:limit]

        annotate_request_with_matched_data(request, data)
        Rack::Attack.instrument(request)
        true
      end
    end

    module Cache
      def store=(store)
        return super unless store.is_a?(RackAttack)

        Rack::Attack.throttles.each_value { |throttle| store.check(throttle) }
        super
      end
    end

    # Fail2Ban, and Allow2Ban, which lets through until then.
    module Ban
      def filter(discriminator, options)
        return super unless (store = RackAttack.in(Rack::Attack.cache))

        bantime, findtime, maxretry = %i[bantime findtime maxretry].map do |name|
          options[name] or raise ArgumentError, "Must pass #{name} option"
        end
        return true if banned?(discriminator)
        return unless yield

        store.fail!(key_prefix, discriminator, maxretry: maxretry, findtime: findtime, bantime: bantime)
        !(self <= Rack::Attack::Allow2Ban)
      end

      def banned?(discriminator)
        (store = RackAttack.in(Rack::Attack.cache)) ? store.banned?(key_prefix, discriminator) : super
      end

      def reset(discriminator, options)
        (store = RackAttack.in(Rack::Attack.cache)) ? store.reset(key_prefix, discriminator) : super
      end
    end

    # The library's own answer reckons the wait by the clock's next full period; where it sends a wait, this is the right one.
    module Answer
      LIBRARYS = Rack::Attack::Configuration::DEFAULT_THROTTLED_RESPONDER

      def throttled_responder
        responder = super
        responder.equal?(LIBRARYS) ? method(:answer) : responder
      end

      private

      def answer(request)
        data = request.env["rack.attack.match_data"]
        return LIBRARYS.call(request) unless data.key?(:error) || data.key?(:retry_after)

        wait = throttled_response_retry_after_header ? data[:retry_after] : nil
        [data[:error] ? 503 : 429, { "content-type" => "text/plain", **(wait ? { "retry-after" => wait.to_s } : {}) }, ["Retry later\n"]]
      end
    end

    Rack::Attack::Throttle.prepend(Throttle)
    Rack::Attack::Cache.prepend(Cache)
    Rack::Attack::Fail2Ban.singleton_class.prepend(Ban)
    Rack::Attack::Configuration.prepend(Answer)
  end
end
