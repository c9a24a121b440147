# frozen_string_literal: true

# Runs rack-attack's own specs over our store, on the rack-attack that is installed: whatever store they give it, it gets ours.
# LEFT_OUT says which are not run, each with the reason.

LEFT_OUT = {
  "reads the keys of a store, which are its own" => [
    /doesn't leak keys/,
    /Allow2Ban.* (does not increase fail count|increases fail count|is still banned|is banned)\z/,
    /Fail2Ban.* (does not increase fail count|increases fail count|is still banned|is banned)\z/,
    /throttle.* should set the counter for one request/,
    /throttle_discriminator_normalizer/,
  ],
  "wants no more in a throttle's data than it has there" => [/should populate throttle data/, /with 2 requests should tag the env/],
  "sets the clock of the process, and a limit is the server's" => [
    /\A(fail2ban|allow2ban) (restores access after bantime elapsed|does not forbid all access if maxrety .* within the findtime timespan)/,
    /\A#throttle (allows one request per minute by IP|returns correct Retry-After header if enabled|supports period to be dynamic)/,
    /\A#track with throttle-ish options/,
  ],
  "wants a denied request counted" => [/\ACustomizing throttled response exposes match data/],
  "needs Rails" => [/works when Rails.cache is set/, /Middleware for Rails/, /normalizing paths blocks requests with trailing slash/],
}.freeze

# What the specs of a checkout ask for besides: their Gemfile, a debugger, colours, one helper, and Rails, of which they set the cache.
module Kernel
  theirs = instance_method(:require)
  define_method(:require) { |name| %w[bundler/setup byebug minitest/pride minitest/stub_const rails].include?(name) || theirs.bind_call(self, name) }
end

require "active_support/all"
require "logger"
require "minitest/autorun"
require "rack/test"
require "redis"
require "timecop"
require "ratelimit_client/rack_attack"

module Rails
  class << self
    attr_accessor :cache
  end
end

class Module
  def stub_const(name, value)
    was = remove_const(name) if (had = const_defined?(name, false))
    const_set(name, value)
    yield
  ensure
    remove_const(name)
    const_set(name, was) if had
  end
end

ENV["REDIS_URL"] = "redis://127.0.0.1:#{ENV.fetch("RATELIMIT_PORT")}/9" # what a `Redis.new` of theirs is

# Windows of the clock, as the specs have them. What an application asks of its own store, this one passes on.
class Ours < RatelimitClient::RackAttack
  DATABASE = Redis.new

  def initialize
    super(DATABASE, algorithm: "fixed", timeout: 60)
  end

  def clear = DATABASE.flushdb
  alias flushdb clear
  alias flush clear
  alias flush_all clear
end

module Replaced
  REAL = /\A(ActiveSupport::|Dalli::|Redis)/

  def store=(store)
    super(store.class.name&.match?(REAL) ? Ours.new : store)
  end
end
Rack::Attack::Cache.prepend(Replaced)

module LeavingOut
  SEEN = []

  def before_setup
    spec = "#{self.class} #{name.sub(/\Atest_\d+_/, "")}"
    reason, = LEFT_OUT.find { |_, specs| specs.any? { |one| one === spec && SEEN << one } }
    skip(reason) if reason
    Ours::DATABASE.flushdb
    super
  end
end
Minitest::Test.prepend(LeavingOut)

class Counts < Minitest::StatisticsReporter
  def record(result)
    super
    puts "#{result.result_code} #{result.klass} #{result.name}#{": #{result.failure.message.lines.first}" if result.failure}"
  end

  def report
    super
    unknown = LEFT_OUT.values.flatten - LeavingOut::SEEN
    puts "left out, but there is no such spec: #{unknown.inspect}" unless unknown.empty?
    failed = failures + errors + (unknown.empty? ? 0 : 1)
    puts "# #{skips} left out", "# #{count - skips - failures - errors} passed, #{failed} failed"
  end

  def passed? = super && (LEFT_OUT.values.flatten - LeavingOut::SEEN).empty?
end
Minitest.extensions << "counts"
def Minitest.plugin_counts_init(options) = reporter << Counts.new(options[:io], options)

Dir[File.join(ENV.fetch("THEIRS_CHECKOUT"), "spec/**/*_spec.rb")].sort.each { |spec| require spec }
