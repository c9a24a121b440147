# frozen_string_literal: true

require "io/wait"
require "openssl"
require "socket"
require_relative "errors"

module RatelimitClient
  # A point in time by which an answer is due.
  class Deadline
    def initialize(seconds)
      @end = Deadline.now + seconds
    end

    def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    def left
      left = @end - Deadline.now
      left.positive? ? left : raise(Error.new(:timeout, "no answer within the timeout"))
    end
  end

  # One connection. What is sent is sent once, and whatever goes wrong ends the connection: a reply that comes late can be
  # nobody else's.
  class Connection
    MAX_LINE = 65_536
    MAX_DEPTH = 16
    BROKEN = [SystemCallError, SocketError, OpenSSL::SSL::SSLError, IOError].freeze

    def initialize(server, deadline)
      @server = server
      @buffer = String.new(encoding: Encoding::BINARY)
      @is_new = true
      is_open = connect(deadline)
    rescue *BROKEN => e
      raise broken(e)
    ensure # a Timeout of the application's is no exception on its way through here
      close unless is_open
    end

    # The replies, errors of the server's among them as Error.
    def call(commands, deadline)
      login = @is_new ? @server.login : []
      write(pack(login + commands), deadline)
      login.each { (said = reply(deadline)).is_a?(Error) && raise(said) }
      @is_new = false
      replies = Array.new(commands.size) { reply(deadline) }
    rescue *BROKEN => e
      raise broken(e)
    ensure
      close unless replies
    end

    # Nothing was asked: what is there to be read is its end, or no answer to anything.
    def stale?
      !@buffer.empty? || @socket.read_nonblock(1, exception: false) != :wait_readable
    rescue *BROKEN
      true
    end

    def close
      @socket&.close
    rescue *BROKEN
      nil
    end

    private

    def connect(deadline)
      return @socket = Addrinfo.unix(@server.path).connect(timeout: deadline.left) if @server.path

      socket = @socket = tcp(deadline)
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      return true unless @server.tls

      secure = @socket = OpenSSL::SSL::SSLSocket.new(socket, @server.tls)
      secure.sync_close = true
      secure.hostname = @server.host unless @server.host.match?(/\A[\d.]+\z|:/)
      until (want = secure.connect_nonblock(exception: false)) == secure
        wait(socket, want, deadline)
      end
      secure.post_connection_check(@server.host) unless @server.tls.verify_mode == OpenSSL::SSL::VERIFY_NONE
      true
    end

    def tcp(deadline)
      addresses = Addrinfo.getaddrinfo(@server.host, @server.port, nil, :STREAM)
      addresses.each_with_index do |address, i|
        return address.connect(timeout: deadline.left)
      rescue SystemCallError
        raise if i == addresses.size - 1
      end
    end

    def write(bytes, deadline)
      until bytes.empty?
        written = @socket.write_nonblock(bytes, exception: false)
        written.is_a?(Integer) ? bytes = bytes.byteslice(written..) : wait(@socket, written, deadline)
      end
    end

    def more(deadline)
      read = @socket.read_nonblock(16_384, exception: false)
      case read
      when String then @buffer << read
      when nil then raise Error.new(:connection, "Redis at #{@server} closed the connection")
      else wait(@socket, read, deadline)
      end
    end

    def wait(socket, want, deadline)
      case want
      when :wait_readable then socket.to_io.wait_readable(deadline.left)
      when :wait_writable then socket.to_io.wait_writable(deadline.left)
      end
    end

    def reply(deadline, depth = 0)
      kind, text = line(deadline)
      case kind
      when "+" then text
      when "-" then Error.replied(text)
      when ":" then integer(text)
      when "$" then (size = integer(text)).negative? ? nil : bytes(size, deadline)
      when "*"
        raise no_reply if depth == MAX_DEPTH

        (size = integer(text)).negative? ? nil : Array.new(size) { reply(deadline, depth + 1) }
      else raise no_reply
      end
    end

    def line(deadline)
      until (at = @buffer.index("\r\n"))
        raise no_reply if @buffer.bytesize > MAX_LINE

        more(deadline)
      end
      text = @buffer.slice!(0, at + 2)
      [text[0], text[1...-2]]
    end

    def bytes(size, deadline)
      more(deadline) until @buffer.bytesize >= size + 2
      @buffer.slice!(0, size + 2)[0, size]
    end

    def integer(text)
      text.match?(/\A-?\d{1,19}\z/) ? text.to_i : raise(no_reply)
    end

    def pack(commands)
      commands.map do |words|
        "*#{words.size}\r\n".b + words.map { |word| "$#{word.to_s.bytesize}\r\n".b + word.to_s.b + "\r\n".b }.join
      end.join
    end

    def no_reply = Error.new(:refused, "what answers at #{@server} is not Redis")

    def broken(error)
      Error.new(error.is_a?(Errno::ETIMEDOUT) ? :timeout : :connection, "Redis at #{@server}: #{error.message}")
    end
  end
end
