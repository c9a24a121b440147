# frozen_string_literal: true

module RatelimitClient
  # Why there was no answer, or why the server gave none. `reason` is one word for metrics:
  #   :timeout     no answer within the deadline
  #   :connection  there is none, or it broke
  #   :server      Redis is there and cannot (loading, memory full, a replica)
  #   :refused     it does not understand or does not permit, or what answers is no such server; somebody has to mend that
  class Error < StandardError
    REFUSALS = %w[ERR WRONGTYPE CROSSSLOT NOPERM NOAUTH WRONGPASS EXECABORT MOVED].freeze

    attr_reader :reason

    def initialize(reason, message)
      @reason = reason
      super(message)
    end

    # An error reply of the server's.
    def self.replied(text)
      is_refusal = REFUSALS.include?(text[/\A[A-Z]+/]) && !text.start_with?("ERR max number of clients")
      new(is_refusal ? :refused : :server, text)
    end
  end
end
