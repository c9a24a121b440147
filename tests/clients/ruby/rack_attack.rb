# frozen_string_literal: true

# rack-attack over the store of clients/ruby: in a Rack application that puma serves, through rack-test, and by the table of
# failures. But for the store all of it is Debian's.

require "json"
require "fileutils"
require "net/http"
require "openssl"
require "puma"
require "puma/server"
require "rack"
require "rack/test"
require "redis"
require "securerandom"
require "tmpdir"
require "ratelimit_client/rack_attack"

PORT = Integer(ENV.fetch("RATELIMIT_PORT"))
STALLED_PORT = Integer(ENV.fetch("RATELIMIT_STALLED_PORT"))
STALLED_PID = Integer(ENV.fetch("RATELIMIT_STALLED_PID"))
ADMIN = Redis.new(port: PORT)
TIMEOUT = 0.3
# The contract says 50 ms; a busy machine may hold a process up for longer. A client that retries takes 10 s and more.
SLACK = 5
PATIENT = 30
QUIET = Logger.new(IO::NULL)

Store = RatelimitClient::RackAttack

class Failed < StandardError; end

def same(actual, expected, what = "")
  raise Failed, "#{what} #{actual.inspect} is not #{expected.inspect}".strip unless actual == expected
end

def within(actual, range, what = "")
  raise Failed, "#{what} #{actual.inspect} is not in #{range}".strip unless range.cover?(actual)
end

def refused(pattern)
  yield
rescue ArgumentError => e
  raise Failed, "said #{e.message}" unless e.message.match?(pattern)
else
  raise Failed, "not refused: #{pattern.inspect}"
end

def until_true(what)
  deadline = RatelimitClient::Deadline.new(PATIENT)
  until (value = yield)
    deadline.left
    sleep 0.01
  end
  value
rescue RatelimitClient::Error
  raise Failed, "never happened: #{what}"
end

def timed
  begun = RatelimitClient::Deadline.now
  [yield, RatelimitClient::Deadline.now - begun]
end

# Another process, as a wire that a client shares with its server is broken by neither.
class Wire
  attr_reader :port

  def initialize(target = PORT)
    @io = IO.popen(["python3", File.expand_path("../proxy.py", __dir__), target.to_s], "r+")
    @port = Integer(@io.gets)
  end

  def tell(**what)
    @io.puts(JSON.generate(what))
    Integer(@io.gets)
  end

  def close = @io.close
end

$passed = $failed = 0
# Each with a prefix of its own, so that its keys are.
def test(name)
  Rack::Attack.clear_configuration
  Rack::Attack.cache.store = nil
  Rack::Attack.cache.prefix = "rack#{SecureRandom.hex(4)}"
  yield
  $passed += 1
  puts "ok - #{name}"
rescue StandardError => e
  $failed += 1
  puts "not ok - #{name}", "    #{e.class}: #{e.message}", "    #{Array(e.backtrace).grep(/rack_attack/).first(4).join("\n    ")}"
end

def store(port = PORT, **options)
  Rack::Attack.cache.store = Store.new(Redis.new(port: port), timeout: PATIENT, logger: QUIET, **options)
end

def application
  Rack::Builder.new do
    use Rack::Lint
    use Rack::Attack
    use Rack::Lint
    run ->(_env) { [200, { "content-type" => "text/plain" }, ["hello\n"]] }
  end.to_app
end

def browser = Rack::Test::Session.new(Rack::MockSession.new(application))

def get(path = "/", address: "192.0.2.1", with: browser)
  with.get(path, {}, "REMOTE_ADDR" => address)
  with
end

def status(...) = get(...).last_response.status

def by_ip(name = "req/ip", limit: 3, period: 60)
  Rack::Attack.throttle(name, limit: limit, period: period, &:ip)
end

def used(key, algorithm = "SLIDING", window = "1m", client: ADMIN)
  _, limit, remaining = client.call("RL.PEEK", algorithm, key, 1000, window, "COST", 0)
  limit - remaining
end

puts "# rack-attack #{Gem.loaded_specs["rack-attack"]&.version || "of the load path"}, redis-rb #{Redis::VERSION}, puma #{Puma::Const::VERSION}"

test "a throttle lets its limit through, by caller, and says how long to wait" do
  store
  by_ip
  Rack::Attack.throttled_response_retry_after_header = true
  same(Array.new(4) { status }, [200, 200, 200, 429])
  same(status(address: "192.0.2.2"), 200)
  denied = get
  within(denied.last_response.headers["retry-after"].to_i, 58..60)
  data = denied.last_request.env["rack.attack.match_data"]
  same(data.slice(:discriminator, :count, :limit, :period, :remaining), { discriminator: "192.0.2.1", count: 4, limit: 3, period: 60, remaining: 0 })
  within(data[:retry_after], 58..60)
  same(denied.last_request.env["rack.attack.matched"], "req/ip")
  same(denied.last_request.env["rack.attack.match_type"], :throttle)
  same(denied.last_request.env["rack.attack.throttle_data"]["req/ip"], data)
  same(used("#{Rack::Attack.cache.prefix}:sliding:req/ip:192.0.2.1"), 3, "a denied request is not counted:")
end

test "in no interval more than the limit, also over the end of the clock's period" do
  store
  by_ip(limit: 4, period: 2)
  # Just before the clock's period ends: the library's own store would let four more through just after it.
  until_true("the end of a period") { Time.now.to_f % 2 > 1.5 }
  since = RatelimitClient::Deadline.now
  answers = []
  answers << [status, RatelimitClient::Deadline.now] until answers.count { |code, _| code == 200 } == 8
  let_through = answers.filter_map { |code, at| at if code == 200 }
  # By the server's clock, which counts whole milliseconds.
  within(let_through[4] - since, 1.9..., "the fifth came after")
end

test "with algorithm: \"fixed\" windows are the clock's, and the library's formula for the wait is right" do
  store(algorithm: "fixed")
  by_ip(limit: 1, period: 3600)
  get
  data = get.last_request.env["rack.attack.match_data"]
  formula = data[:period] - (data[:epoch_time] % data[:period])
  within(data[:retry_after], (formula - 1)..(formula + 1))
end

test "with algorithm: \"bucket\" a limit flows in over its period" do
  store(algorithm: :bucket)
  by_ip(limit: 2, period: 120)
  same(Array.new(3) { status }, [200, 200, 429])
  within(get.last_request.env["rack.attack.match_data"][:retry_after], 58..60)
end

test "another algorithm begins anew" do
  Store::ALGORITHMS.each do |algorithm|
    store(algorithm: algorithm)
    by_ip(limit: 1)
    same(Array.new(2) { status }, [200, 429], algorithm)
  end
end

test "what a request that passes is told: how many are left" do
  store
  by_ip
  data = get.last_request.env["rack.attack.throttle_data"]["req/ip"]
  same(data.slice(:count, :limit, :remaining, :retry_after), { count: 1, limit: 3, remaining: 2, retry_after: 0 })
  within(data[:reset_after], 58..60)
end

test "limits and periods that are procs, no discriminator, a normalizer" do
  store
  Rack::Attack.throttle("plans", limit: ->(r) { r.params["plan"] == "pro" ? Float::INFINITY : 1.0 }, period: ->(_) { 60 }) { |r| r.params["who"] }
  same(Array.new(2) { status("/?who=Bob") }, [200, 429])
  same(status("/?who=%20bOB%20"), 429)
  same(Array.new(3) { status("/") }, [200, 200, 200])
  same(Array.new(3) { status("/?who=ann&plan=pro") }, [200, 200, 200])
end

test "bytes of a stranger's are a key" do
  store
  Rack::Attack.throttle("agent", limit: 1, period: 60) { |r| r.get_header("HTTP_X_KEY") }
  session = browser
  keys = ["\xFF\xFE\r\n$3".b, "a" * 100_000, "*", "é".b]
  keys.each do |key|
    answers = Array.new(2) { session.get("/", {}, "HTTP_X_KEY" => key.dup) && session.last_response.status }
    same(answers, [200, 429], key[0, 5].inspect)
  end
end

test "a policy of the server's replaces a throttle's limit, without a deploy" do
  store
  by_ip
  name = "#{Rack::Attack.cache.prefix}:req/ip"
  ADMIN.call("RL.POLICY", "SET", name, "SLIDING", 1, "10m")
  same(Array.new(2) { status }, [200, 429])
  data = get.last_request.env["rack.attack.match_data"]
  same(data.values_at(:limit, :count), [1, 2])
  within(data[:retry_after], 590..600)
ensure
  ADMIN.call("RL.POLICY", "DEL", name)
end

test "a track tells, and stops nobody" do
  store
  Rack::Attack.track("many", limit: 1, period: 60, &:ip)
  same(Array.new(3) { get.last_request.env["rack.attack.matched"] }, [nil, "many", "many"])
  same(status, 200)
end

test "safelists and blocklists are asked first, and charge nothing" do
  store
  by_ip(limit: 1)
  Rack::Attack.safelist_ip("198.51.100.0/24")
  Rack::Attack.blocklist_ip("203.0.113.9")
  same(Array.new(3) { status(address: "198.51.100.7") }, [200, 200, 200])
  same(status(address: "203.0.113.9"), 403)
  same(ADMIN.keys("#{Rack::Attack.cache.prefix}:*"), [])
end

{ "Fail2Ban" => [403, 403], "Allow2Ban" => [200, 200] }.each do |kind, bad|
  ban = Rack::Attack.const_get(kind)
  test "#{kind}: the last failure bans, other callers go on, reset lifts it" do
    store
    options = { maxretry: 2, findtime: 60, bantime: 3600 }
    Rack::Attack.blocklist("pentesters") { |r| ban.filter(r.ip, options) { r.path.include?("bad") } }
    same(status("/"), 200)
    same(status("/bad"), bad[0])
    same(ban.banned?("192.0.2.1"), false)
    same(status("/"), 200)
    same(status("/bad"), bad[1])
    same(ban.banned?("192.0.2.1"), true)
    same([status("/"), status("/bad"), status("/", address: "192.0.2.2")], [403, 403, 200])
    key = "#{Rack::Attack.cache.prefix}:#{kind.downcase}:192.0.2.1"
    within(ADMIN.pttl(key), 3_590_000..10_000_000, "the key outlasts its ban:")
    ban.reset("192.0.2.1", options)
    same([ban.banned?("192.0.2.1"), status("/")], [false, 200])
  end

  test "#{kind}: one failure is enough, a ban ends, and the next one is longer" do
    store
    once = { maxretry: 1, findtime: 60, bantime: 60 }
    ban.filter("once", once) { true }
    same(ban.banned?("once"), true)
    growing = { maxretry: 2, findtime: 60, bantime: [0.05, 3600] }
    2.times { ban.filter("growing", growing) { true } }
    until_true("the end of a ban") { !ban.banned?("growing") }
    # Forgotten once it has been over for as long as it lasted: the second within that time is an hour.
    key = "#{Rack::Attack.cache.prefix}:#{kind.downcase}:again"
    growing = { maxretry: 2, findtime: 60, bantime: [2, 3600] }
    2.times { ban.filter("again", growing) { true } }
    until_true("the end of a ban") { !ban.banned?("again") }
    2.times { ban.filter("again", growing) { true } }
    within(ADMIN.call("RL.PEEK", "SLIDING", key, 1, "1m")[3], 3_500_000..3_600_000)
  end
end

test "a hundred failures at once: as many as maxretry count, and the ban starts" do
  store
  ban = Rack::Attack::Allow2Ban
  options = { maxretry: 10, findtime: 60, bantime: 60 }
  Array.new(100) { Thread.new { ban.filter("crowd", options) { true } } }.each(&:join)
  same(ban.banned?("crowd"), true)
end

test "the cache's own words: count, read, write, delete, reset!" do
  store
  cache = Rack::Attack.cache
  same([cache.count("things", 60), cache.count("things", 60)], [1, 2])
  key = ADMIN.keys("#{cache.prefix}:*:things").first
  within(ADMIN.ttl(key), 1..61)
  cache.write("block 1.2.3.4", "yes", 300)
  same(cache.read("block 1.2.3.4"), "yes")
  within(ADMIN.ttl("#{cache.prefix}:block 1.2.3.4"), 1..300)
  cache.delete("block 1.2.3.4")
  same(cache.read("block 1.2.3.4"), nil)
  by_ip(limit: 1)
  same(Array.new(2) { status }, [200, 429])
  Rack::Attack.reset!
  same([status, ADMIN.keys("#{cache.prefix}*").size], [200, 1])
end

test "a responder of the application's own stays" do
  store
  by_ip(limit: 0)
  Rack::Attack.throttled_responder = ->(r) { [418, { "content-type" => "text/plain" }, [r.env["rack.attack.match_data"][:retry_after].inspect]] }
  answer = get.last_response
  same([answer.status, answer.body], [418, "nil"], "a limit of 0 never opens:")
end

test "the library's stores go on as they were" do
  Rack::Attack.cache.store = Redis.new(port: PORT)
  by_ip(limit: 1)
  Rack::Attack.throttled_response_retry_after_header = true
  same(Array.new(2) { status }, [200, 429])
  within(get.last_response.headers["retry-after"].to_i, 1..60)
  Rack::Attack::Fail2Ban.filter("x", { maxretry: 1, findtime: 60, bantime: 60 }) { true }
  same(Rack::Attack::Fail2Ban.banned?("x"), true)
  Rack::Attack::Fail2Ban.reset("x", { findtime: 60 })
  same(Rack::Attack::Fail2Ban.banned?("x"), false)
end

test "mistakes are told when it is made" do
  refused(/algorithm: .*sliding, fixed, bucket/) { store(algorithm: "leaky") }
  refused(/unavailable: .*open or closed/) { store(unavailable: "maybe") }
  refused(/timeout: .*above 0/) { Store.new("redis://localhost", timeout: 0) }
  refused(/on_hit: .*#call/) { store(on_hit: 5) }
  refused(/client: expected a Redis/) { Store.new(Object.new) }
  refused(/client: expected an address/) { Store.new("http://localhost") }
  refused(/Sentinel/) { Store.new(Redis.new(url: "redis://mymaster", sentinels: [{ host: "127.0.0.1", port: 1 }])) }
  refused(/cluster/) { Store.new(Redis.new(cluster: ["redis://127.0.0.1:#{ENV.fetch("RATELIMIT_CLUSTER_PORT")}"])) }
  store
  refused(/"a": limit: expected 0 to/) { by_ip("a", limit: -1) }
  refused(/"b": limit: expected 0 to/) { by_ip("b", limit: "5") }
  refused(/"c": period: expected seconds/) { by_ip("c", period: 0) }
  refused(/throttle's name/) { by_ip("n" * 129) }
  refused(/fail2ban: expected a maxretry/) { Rack::Attack::Fail2Ban.filter("x", { maxretry: 0, findtime: 1, bantime: 1 }) { true } }
  refused(/fail2ban: bantime: expected seconds/) { Rack::Attack::Fail2Ban.filter("x", { maxretry: 2, findtime: 1, bantime: 0 }) { true } }
  refused(/bantime/) { Rack::Attack::Fail2Ban.filter("x", { maxretry: 2, findtime: 1 }) { true } }
  Rack::Attack.clear_configuration
  Rack::Attack.cache.store = nil
  by_ip("early", limit: -1)
  refused(/"early": limit/) { store }
end

test "a password, a database and TLS are taken from the client or the address" do
  files = Dir.mktmpdir
  key = OpenSSL::PKey::RSA.new(2048)
  certificate = OpenSSL::X509::Certificate.new
  certificate.version = 2
  certificate.serial = 1
  certificate.subject = certificate.issuer = OpenSSL::X509::Name.parse("/CN=localhost")
  certificate.public_key = key.public_key
  certificate.not_before = Time.now - 3600
  certificate.not_after = Time.now + 86_400
  extensions = OpenSSL::X509::ExtensionFactory.new(certificate, certificate)
  certificate.add_extension(extensions.create_extension("subjectAltName", "DNS:localhost,IP:127.0.0.1"))
  certificate.sign(key, OpenSSL::Digest.new("SHA256"))
  File.write("#{files}/key", key.to_pem)
  File.write("#{files}/cert", certificate.to_pem)
  plain, secure = Array.new(2) { TCPServer.open("127.0.0.1", 0) { |probe| probe.addr[1] } }
  pid = spawn(ENV.fetch("RATELIMIT_SERVER"), "--port", plain.to_s, "--tls-port", secure.to_s, "--tls-cert-file", "#{files}/cert",
              "--tls-key-file", "#{files}/key", "--tls-ca-cert-file", "#{files}/cert", "--tls-auth-clients", "no", "--save", "",
              "--requirepass", "s3cret@", "--unixsocket", "#{files}/socket", "--dir", files,
              "--loadmodule", ENV.fetch("RATELIMIT_MODULE"), out: "#{files}/log")
  own = { port: plain, password: "s3cret@", db: 3 }
  until_true("a server with TLS") { Redis.new(**own).ping rescue nil }
  clients = {
    "its options" => Redis.new(**own),
    "its TLS" => Redis.new(**own, port: secure, host: "localhost", ssl: true, ssl_params: { ca_file: "#{files}/cert" }),
    "its TLS to an address" => Redis.new(**own, port: secure, host: "127.0.0.1", ssl: true, ssl_params: { ca_file: "#{files}/cert" }),
    "its socket" => Redis.new(path: "#{files}/socket", password: "s3cret@", db: 3),
    "an address" => "redis://:s3cret%40@127.0.0.1:#{plain}/3",
    "an address with a user" => "redis://default:s3cret%40@localhost:#{plain}/3"
  }
  clients.each_with_index do |(name, client), i|
    errors = []
    Rack::Attack.cache.store = Store.new(client, timeout: PATIENT, logger: QUIET, on_error: ->(e) { errors << e })
    by_ip(limit: clients.size)
    same([status, errors], [200, []], name)
    same(used("#{Rack::Attack.cache.prefix}:sliding:req/ip:192.0.2.1", client: Redis.new(**own)), i + 1, name)
  end
  { "redis://127.0.0.1:#{plain}" => /NOAUTH/, "redis://:wrong@127.0.0.1:#{plain}" => /WRONGPASS/,
    "rediss://localhost:#{secure}" => /certificate/,
    Redis.new(**own, port: secure, host: "127.0.0.2", ssl: true, ssl_params: { ca_file: "#{files}/cert" }) => /does not match/ }.each do |address, text|
    errors = []
    Rack::Attack.cache.store = Store.new(address, timeout: PATIENT, logger: QUIET, on_error: ->(e) { errors << e })
    by_ip
    same(status, 200)
    same([errors.size, errors[0].message.match?(text)], [1, true], errors.inspect)
  end
ensure
  if pid
    Process.kill(:KILL, pid)
    Process.wait(pid)
  end
  FileUtils.rm_rf(files)
end

FAULTS = JSON.parse(File.read(File.expand_path("../failures.json", __dir__), encoding: "UTF-8"))["faults"]

# The first answer of the server's: a connection has to be made.
def up(path) = until_true("an answer") { get(path).then { |s| s if s.last_request.env["rack.attack.throttle_data"]["path"][:error].nil? } }

wire = Wire.new
FAULTS.each_with_index do |fault, i|
  %w[open closed].each do |unavailable|
    test "#{fault["fault"]} #{fault["bytes"].inspect if fault["bytes"]}: #{unavailable}" do
      errors = []
      events = []
      wire.tell(refuses: true) if fault["fault"] == "refuse"
      wire.tell(silent: true) if fault["fault"] == "silent"
      is_from_start = %w[refuse silent].include?(fault["fault"])
      store(wire.port, timeout: fault["failed"] ? TIMEOUT : PATIENT, algorithm: "fixed", unavailable: unavailable,
                       on_error: ->(e) { errors << e }, on_hit: ->(e) { events << e })
      Rack::Attack.throttle("path", limit: 1000, period: 86_400, &:path)
      up("/warm") unless is_from_start
      [errors, events].each(&:clear)
      wire.tell(next: fault) unless is_from_start
      path = "/fault-#{i}-#{unavailable}"
      answer, seconds = timed { get(path) }
      until_true("the fault") { wire.tell(late: true).zero? }
      within(seconds, 0..(TIMEOUT + SLACK))
      data = answer.last_request.env["rack.attack.throttle_data"]["path"]
      same(data[:error].nil?, !fault["failed"], data[:error].inspect)
      same(answer.last_response.status, fault["failed"] && unavailable == "closed" ? 503 : 200)
      same(errors.size, fault["failed"] ? 1 : 0)
      same(events.map(&:outcome), [fault["failed"] ? unavailable.to_sym : :allowed])
      same(events[0].reason, fault["failed"] ? fault["reason"]&.to_sym || events[0].reason : nil)
      wire.tell(refuses: false, silent: false)
      key = "#{Rack::Attack.cache.prefix}:fixed:path:#{path}"
      # Sound again: requests are counted, and each has its own answer. (A busy machine may be late once more.)
      up("/sound")
      until_true("#{fault["charged"]} charged") { used(key, "FIXED", "1d") == fault["charged"] }
      same(up(path).last_request.env["rack.attack.throttle_data"]["path"][:remaining], 1000 - used(key, "FIXED", "1d"))
    ensure
      wire.tell(refuses: false, silent: false)
    end
  end
end

wire.close

test "a server that is stopped: each request in time, charged once at most, one line in the log, bans as unavailable says" do
  log = StringIO.new
  events = []
  store(STALLED_PORT, timeout: TIMEOUT, logger: Logger.new(log), on_hit: ->(e) { events << e })
  Rack::Attack.throttle("path", limit: 1000, period: 86_400, &:path)
  up("/warm")
  events.clear
  Process.kill(:STOP, STALLED_PID)
  begin
    _, seconds = timed { same(Array.new(20) { Thread.new { status("/stopped") } }.map(&:value).uniq, [200]) }
    within(seconds, 0..(TIMEOUT + SLACK))
    same(Rack::Attack::Fail2Ban.banned?("x"), false)
    store(STALLED_PORT, timeout: TIMEOUT, unavailable: "closed")
    same(Rack::Attack::Fail2Ban.banned?("x"), true)
    Rack::Attack.track("told", limit: 1, period: 60, &:ip)
    Rack::Attack.throttles.clear
    same(get.last_request.env["rack.attack.matched"], nil, "a track with no answer:")
  ensure
    Process.kill(:CONT, STALLED_PID)
  end
  same(events.first(20).map { |e| [e.limiter, e.outcome, e.reason] }.uniq, [["path", :open, :timeout]])
  within(log.string.lines.size, 1..(seconds + 3).ceil, log.string)
  within(used("#{Rack::Attack.cache.prefix}:sliding:path:/stopped", "SLIDING", "1d", client: Redis.new(port: STALLED_PORT)), 0..20)
end

test "a connection that the server closed while nobody asked is seen, and the request is counted" do
  errors = []
  store(on_error: ->(e) { errors << e })
  by_ip(limit: 5)
  get
  ADMIN.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
  same([status, errors.size, used("#{Rack::Attack.cache.prefix}:sliding:req/ip:192.0.2.1")], [200, 0, 2])
end

test "after a fork each process has its own connection" do
  errors = []
  store(on_error: ->(e) { errors << e })
  by_ip(limit: 1000)
  get
  children = Array.new(4) { fork { exit!(Array.new(50) { status }.uniq == [200] && errors.empty? ? 0 : 1) } }
  same(Array.new(50) { status }.uniq, [200])
  same(children.map { |pid| Process.wait2(pid)[1].exitstatus }, [0, 0, 0, 0])
  same(used("#{Rack::Attack.cache.prefix}:sliding:req/ip:192.0.2.1"), 251)
end

test "a Timeout of the application's own leaves no reply for the next request, and no connection" do
  GC.disable
  store(STALLED_PORT)
  Rack::Attack.throttle("path", limit: 1000, period: 86_400, &:path)
  up("/first")
  open = ObjectSpace.each_object(Socket).count { |socket| !socket.closed? }
  Process.kill(:STOP, STALLED_PID)
  begin
    Timeout.timeout(0.1) { status("/cut") }
    raise Failed, "not cut"
  rescue Timeout::Error
    Process.kill(:CONT, STALLED_PID)
  end
  same(Array.new(5) { |i| get("/other").last_request.env["rack.attack.throttle_data"]["path"][:count] == i + 1 }, [true] * 5)
  same(ObjectSpace.each_object(Socket).count { |socket| !socket.closed? }, open, "open sockets:")
ensure
  GC.enable
  Process.kill(:CONT, STALLED_PID)
end

test "puma, 16 threads, 8 callers at once: the limit, and not one more" do
  store
  by_ip("http", limit: 50, period: 600)
  Rack::Attack.throttled_response_retry_after_header = true
  server = Puma::Server.new(application, Puma::Events.strings, min_threads: 16, max_threads: 16)
  port = server.add_tcp_listener("127.0.0.1", 0).addr[1]
  server.run
  callers = Array.new(8) do
    Thread.new { Net::HTTP.start("127.0.0.1", port) { |http| Array.new(25) { http.get("/") } } }
  end
  answers = callers.flat_map(&:value)
  same(answers.group_by(&:code).transform_values(&:size), { "200" => 50, "429" => 150 })
  denied = answers.find { |answer| answer.code == "429" }
  within(denied["retry-after"].to_i, 500..600)
  within(ADMIN.call("CLIENT", "LIST").lines.size, 1..40, "connections:")
ensure
  server&.stop(true)
end

test "what the READMEs show" do
  blocks = %w[README.md ruby/README.md].map do |name|
    File.read(File.expand_path("../../../clients/#{name}", __dir__), encoding: "UTF-8").scan(/^```ruby\n(.*?)^```/m).flatten
  end
  same(blocks.map(&:size), [1, 1])
  ENV["REDIS_URL"] = "redis://127.0.0.1:#{PORT}"
  blocks.flatten.each { |block| eval(block.gsub("redis://localhost:6379", ENV["REDIS_URL"])) } # rubocop:disable Security/Eval
  same(Rack::Attack.cache.store.class, Store)
  session = browser
  answers = Array.new(6) { session.post("/login").then { session.last_response } }
  same(answers.map(&:status), [200, 200, 200, 200, 200, 429])
  within(answers.last.headers["retry-after"].to_i, 890..900)
end

puts "", "# #{$passed} passed, #{$failed} failed"
exit($failed.zero?)
