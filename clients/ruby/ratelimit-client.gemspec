# frozen_string_literal: true

Gem::Specification.new do |gem|
  gem.name = "ratelimit-client"
  gem.version = "0.2.0"
  gem.summary = "Rate limiting by the native Redis commands RL.*, under rack-attack"
  gem.description = "rack-attack's throttles, tracks, fail2ban and allow2ban, decided by a Redis or Valkey server that has loaded the ratelimit module."
  gem.authors = ["the ratelimit authors"]
  gem.license = "MIT"
  gem.required_ruby_version = ">= 3.0"
  gem.files = Dir["lib/**/*.rb", "README.md", "LICENSE"]
  gem.add_dependency "rack-attack", "~> 6.6"
  gem.metadata["rubygems_mfa_required"] = "true"
end
