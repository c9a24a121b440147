# frozen_string_literal: true

require "openssl"
require "uri"
require_relative "connection"

module RatelimitClient
  # Where a Redis is, taken from an address or from a client of redis-rb. The client itself is never asked to send: by default
  # redis-rb sends again what was not answered, and so charges twice.
  Server = Struct.new(:host, :port, :path, :username, :password, :db, :tls, keyword_init: true) do
    def self.of(client)
      case client
      when String then of_url(client)
      when defined?(::Redis) ? ::Redis : nil then of_redis(client)
      else raise ArgumentError, "client: expected a Redis of redis-rb or an address such as \"redis://localhost:6379/0\", got #{client.class}"
      end
    end

    def self.of_url(text)
      url = URI.parse(text)
      given = { username: named(url.user), password: named(url.password) }
      return new(**given, path: url.path, db: 0) if url.scheme == "unix" && !url.path.empty?

      db = url.path.to_s.delete_prefix("/")
      unless %w[redis rediss].include?(url.scheme) && url.host && db.match?(/\A\d*\z/)
        raise ArgumentError, "client: expected an address such as \"redis://localhost:6379/0\", rediss:// or unix:///path"
      end

      new(**given, host: url.hostname, port: url.port || 6379, db: db.to_i, tls: url.scheme == "rediss" ? context({}) : nil)
    rescue URI::InvalidURIError
      raise ArgumentError, "client: not an address: characters of a password that mean something in an address are written as %40"
    end

    def self.of_redis(client)
      inner = client._client
      raise ArgumentError, "client: a cluster of redis-rb is not supported here: use one primary" if inner.class.name.to_s.include?("Cluster")

      # redis-rb 4 has a hash, 5 a configuration.
      inner.respond_to?(:config) ? of_config(inner.config) : of_options(inner.options)
    end

    def self.of_options(options)
      refuse_sentinels if options[:sentinels]
      tls = options[:ssl] || options[:scheme] == "rediss" ? context(options[:ssl_params] || {}) : nil
      new(**options.slice(:host, :path, :username, :password), port: options[:port].to_i, db: options[:db].to_i, tls: tls)
    end

    def self.of_config(config)
      refuse_sentinels if config.respond_to?(:sentinels)
      new(host: config.host, port: config.port, path: config.path, username: config.username, password: config.password,
          db: config.db.to_i, tls: config.ssl ? config.ssl_context : nil)
    end

    def self.refuse_sentinels
      raise ArgumentError, "client: Sentinel is not supported here: give an address that follows the primary"
    end

    def self.context(parameters)
      # Whose certificate it is Connection checks itself: OpenSSL's own way knows names alone, and no addresses.
      OpenSSL::SSL::SSLContext.new.tap { |context| context.set_params({ verify_hostname: false }.merge(parameters)) }
    end

    def self.named(part) = part && !part.empty? ? URI.decode_www_form_component(part.gsub("+", "%2B")) : nil
    private_class_method :of_url, :of_redis, :of_options, :of_config, :refuse_sentinels, :context, :named

    # What a new connection says first.
    def login
      credentials = username && username != "default" ? [username, password] : [password]
      [password && ["AUTH", *credentials], db.positive? ? ["SELECT", db] : nil].compact
    end

    def to_s = path || "#{host}:#{port}"
  end

  # The connections of a process: as many as threads ask at once. A child of a fork has its own.
  class Connections
    def initialize(server, timeout)
      @server = server
      @timeout = timeout
      @mutex = Mutex.new
      @idle = []
      @pid = Process.pid
    end

    def call(*commands)
      deadline = Deadline.new(@timeout)
      connection = take || Connection.new(@server, deadline)
      replies = connection.call(commands, deadline)
      give_back(connection)
      replies
    end

    private

    def take
      loop do
        connection = @mutex.synchronize do
          @idle = [] if @pid != Process.pid # the parent's; not closed here, as closing TLS would end it there
          @pid = Process.pid
          @idle.pop
        end
        return connection unless connection&.stale?

        connection.close
      end
    end

    def give_back(connection)
      @mutex.synchronize { @idle.push(connection) }
    end
  end
end
