//! Every bound of the configuration file, each with its reason.

/// The largest file that is read, in bytes. A file for 10,000 rules has about 3 MB; beyond this
/// it is more likely that the wrong file was named than that somebody wrote it.
pub const FILE_BYTES: usize = 4 * 1024 * 1024;

/// The most YAML events of a file without its aliases. It is out of reach, so that the size of a file
/// is what bounds it: two bytes are four events at the most (`:,` in a list).
pub const YAML_EVENTS: usize = 2 * FILE_BYTES;

/// How many values the aliases of a file (`*name`) may repeat in all, and how many may be kept for
/// them: aliases of aliases make any number of values from a few bytes, and a value takes about 100
/// bytes of memory. 10,000 rules that share a list of 50 values have as many.
pub const ALIAS_VALUES: usize = 500_000;

/// The most bytes of texts in a file, those included that aliases repeat, for the same reason.
pub const YAML_TEXT_BYTES: usize = 16 * FILE_BYTES;

/// How deep lists and mappings may be nested. The deepest key of the file has 11 levels, and reading
/// goes as deep, which must not use up the stack.
pub const YAML_NESTING: usize = 32;

/// The most errors that are collected from one file. A file with more has one cause.
pub const ERRORS: usize = 100;

/// The longest name of a listener or a target group, in bytes. ALB allows 32; names of generated
/// files are longer.
pub const NAME_BYTES: usize = 128;

/// The longest value of a condition, in bytes (ALB: 128; raised because templates produce more).
pub const CONDITION_VALUE_BYTES: usize = 1024;

/// The most memory for one compiled regular expression, in bytes. ALB refuses large ones too
/// (`TransformCompileTooBig`); what a person writes needs a hundredth.
pub const REGEX_COMPILED_BYTES: usize = 256 * 1024;

/// How deep groups and repetitions of a regular expression may be nested. Compiling goes as deep, and
/// a text of `(` or `+` alone must not use up the stack of the thread that reads it.
pub const REGEX_NESTING: u32 = 50;

/// The longest expression or replacement of a transform, in bytes (ALB: 1,024).
pub const TRANSFORM_BYTES: usize = 1024;

/// The longest body of a fixed response, in bytes (ALB: 1,024 characters).
pub const FIXED_BODY_BYTES: usize = 64 * 1024;

/// The longest health check path, in bytes (ALB: 1,024).
pub const HEALTH_PATH_BYTES: usize = 1024;

/// The highest weight of a target group in a forward action (ALB: 0 to 999), and of a target.
pub const WEIGHT_MAX: u64 = 999;

/// The highest priority of a rule (ALB: 1 to 50,000).
pub const PRIORITY_MAX: u64 = 50_000;

/// The most rules that the labels of one container make. ALB has 100 for a whole load balancer.
pub const LABEL_RULES: usize = 20;

/// The most keys for cookies. A rotation needs two, or three if one goes wrong.
pub const COOKIE_KEYS: usize = 8;

/// The longest name of a cookie that a file may give, in bytes. Browsers take 4,096 bytes for name,
/// value and attributes together.
pub const COOKIE_NAME_BYTES: usize = 256;

/// The longest token for Consul or the admin server, in bytes. Consul's own are UUIDs of 36.
pub const TOKEN_BYTES: usize = 1024;

/// The longest name in DNS, in bytes, without a dot at its end (RFC 1035, section 2.3.4, less the
/// bytes that only the wire has).
pub const DNS_NAME_BYTES: usize = 253;

/// The longest part of a name in DNS between two dots, in bytes (RFC 1035, section 2.3.4).
pub const DNS_LABEL_BYTES: usize = 63;

/// The most DNS servers for one group. They are asked one after the other, so more would make a
/// look too long.
pub const DNS_SERVERS: usize = 4;

/// The shortest slow start but none at all, in milliseconds (ALB: 30 s).
pub const SLOW_START_MIN_MILLIS: u64 = 30_000;

/// The longest slow start, in milliseconds (ALB: 900 s).
pub const SLOW_START_MAX_MILLIS: u64 = 900_000;

/// The most of a request body that is kept to be sent again, or to another group, in bytes. It is memory for each request
/// in flight.
pub const RETRY_BODY_BYTES: u64 = 1024 * 1024;

/// The most certificates of one listener (ALB: 25 and the default, adjustable). One is about 5 KB in
/// memory and two files to look at every few seconds.
pub const CERTIFICATES: usize = 20_000;

/// The most lists of revoked certificates for one listener (ALB: 30).
pub const CRLS: usize = 30;

/// The longest name of a header field or a cookie that requests are hashed by, in bytes.
pub const HASH_NAME_BYTES: usize = 128;

/// The longest value of a response field that a listener sets, in bytes (ALB: 1 K).
pub const ATTRIBUTE_BYTES: usize = 1024;

/// From one health check to the next by default, in milliseconds (ALB: 30 s).
pub const CHECK_INTERVAL_MILLIS: u64 = 30_000;

/// How long a health check may take by default, in milliseconds (ALB: 5 s).
pub const CHECK_TIMEOUT_MILLIS: u64 = 5_000;

/// The most header fields of a health check. A server may refuse requests with many.
pub const CHECK_HEADERS: usize = 32;

/// The longest value of a header field, text for a body, or name of a service in a health check, in
/// bytes.
pub const CHECK_VALUE_BYTES: usize = 4096;

/// The most targets that a group may be asked to have healthy (ALB has 1,000 targets in a group).
pub const TARGETS_MAX: u64 = 100_000;

/// The most zones that requests are moved away from. A region has six at the most.
pub const ZONES_MAX: usize = 32;

/// The largest limit on request bodies, in bytes: 1 PiB, which nobody sends.
pub const BODY_LIMIT_MAX: u64 = 1 << 50;

/// The most requests in a period, and at once.
pub const RATE_MAX: u64 = 10_000_000;

/// The shortest time between two requests that can be counted, in microseconds: time is counted
/// in whole ones, and a tenth more or less should not matter.
pub const RATE_INTERVAL_MICROS: u128 = 10;

/// The most values that a rate limit remembers: 64 MiB.
pub const RATE_KEYS_MAX: u64 = 8 * 1024 * 1024;

/// The highest cost of a bcrypt hash: 15 is about two seconds of a processor for each attempt.
pub const BCRYPT_COST_MAX: u32 = 15;

/// The longest value of a header field that a policy sets, in bytes.
pub const HEADER_VALUE_BYTES: usize = 4096;

/// The shortest token of the admin server: what can be guessed is no secret.
pub const ADMIN_TOKEN_BYTES: usize = 16;
