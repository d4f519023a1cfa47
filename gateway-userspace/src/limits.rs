//! Pure: every limit of Weir, with its unit and default, in one place.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Regular expressions that are remembered so that routes share them, before all are forgotten.
pub const PATTERNS_KEPT_MAX: usize = 4096;

/// Matches that an explanation of a routing decision tells about.
pub const EXPLAIN_VERDICTS_MAX: usize = 32;

/// TLVs of one PROXY protocol header, bytes.
pub const PROXY_PROTOCOL_TLV_BYTES_MAX: usize = 1024;

/// Message of one condition in a status, characters. The API allows 32,768, but a Gateway has up to 260
/// conditions, and an object no more than 1.5 MiB.
pub const STATUS_MESSAGE_CHARS_MAX: usize = 2048;

/// Endpoints of one EndpointSlice that the controller keeps. The API allows 1,000; a change sends the
/// whole slice to every node.
pub const SLICE_ENDPOINTS_MAX: usize = 100;

/// How long a process that starts waits for the pods that were there before to be found.
pub const ENROL_FIRST_MAX: Duration = Duration::from_secs(10);

/// A process that has given no sign of life for so long does not come back by itself: where its endpoints are is not
/// believed any more, and calls to `open` and `l4` Services go the cluster's own way. Shorter than pods take to be given
/// another's address, longer than a restart.
pub const ENDPOINTS_FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Least time between two reports of a node.
pub const NODE_REPORT_INTERVAL: Duration = Duration::from_secs(3);

/// Between two reports of a node on which nothing changed.
pub const NODE_REPORT_REFRESH: Duration = Duration::from_secs(10 * 60);

/// Pods that a node's report names.
pub const NODE_REPORT_PODS_MAX: usize = 1024;

/// Ports of a node's pod that Gateways' ports are opened at, one for each. Below those that connections
/// get, above those that are given out for names.
pub const GATEWAY_TARGET_PORTS: RangeInclusive<u16> = 20_000..=29_999;

/// Read at once at first of an HTTP/1 body that is large, or of unknown length, bytes.
pub const BODY_READ_BYTES: usize = 64 * 1024;

/// Read at once of an HTTP/1 body at most, bytes. A connection holds one such piece while its peer does not
/// take it.
pub const BODY_READ_BYTES_MAX: usize = 256 * 1024;

/// Interim answers (1xx) of endpoints to one request.
pub const INTERIM_ANSWERS_MAX: u32 = 16;

/// Extensions of one chunk of HTTP/1, bytes. Nobody uses them.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 256;

/// Extensions of all chunks of one body, bytes.
pub const CHUNK_EXTENSIONS_BYTES_MAX: usize = 16 * 1024;

/// Trailers of one body, bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Trailers of one body, fields.
pub const TRAILER_FIELDS_MAX: usize = 32;

/// What the end of a refused HTTP/1 body may come to for its connection to be worth keeping, bytes. Also what
/// is read of a connection that is closed, for the client to find the answer.
pub const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// How long an HTTP/1 connection that is closed is read for that.
pub const LINGER: Duration = Duration::from_secs(1);

/// Between two measurements of how late a worker is.
pub const DELAY_MEASURE_INTERVAL: Duration = Duration::from_millis(20);

/// Measurements that are decided upon: a delay that all of them show is no accident.
pub const DELAY_MEASURES_MAX: u32 = 5;

/// As many are enough when they have taken `DELAY_WINDOW`, which those of a late worker have.
pub const DELAY_MEASURES_MIN: u32 = 3;

/// Time after which no more measurements are waited for.
pub const DELAY_WINDOW: Duration = Duration::from_millis(250);

/// How long a request waits for others to end before it is refused for overload, while few do. It is up to half less
/// by chance.
pub const REFUSAL_HELD_BACK_MIN: Duration = Duration::from_millis(500);

/// How long it waits while very many do.
pub const REFUSAL_HELD_BACK_MAX: Duration = Duration::from_secs(5);

/// How long the runtime's plugin waits for a pod to be captured before the pod starts without.
pub const CNI_WAIT: Duration = Duration::from_secs(2);

/// The longest such wait that a list of plugins may ask for.
pub const CNI_WAIT_MAX: Duration = Duration::from_secs(30);

/// Between two looks whether the plugin is still in the runtime's list.
pub const CNI_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Pods that the runtime's plugin may wait for at once. More start without.
pub const CNI_ASKS_MAX: usize = 256;

/// Longest input of the runtime's plugin, and longest list of plugins, bytes.
pub const CNI_BYTES_MAX: u64 = 1024 * 1024;

/// Requests of a worker that wait for others to end. More are refused at once.
pub const REFUSALS_HELD_BACK_MAX: usize = 16 * 1024;

/// Idle connections that are given up per measurement while memory is short.
pub const TRIMMED_PER_MEASURE: usize = 16;

/// Upstream streams given up whose late frames are still known for what they are, per connection. Clients may
/// give up all their streams at once; what still comes for them is no error.
pub const UPSTREAM_RESETS_REMEMBERED: usize = 1024;

/// Upstream streams at once before the endpoint has said how many it allows.
pub const UPSTREAM_STREAMS_AT_FIRST: usize = 100;

/// How often idle upstream connections are looked at.
pub const POOL_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Sweeps after which more idle connections than are kept were not needed for the traffic there is.
pub const POOL_SURPLUS_SWEEPS: u32 = 2;

/// How long an HTTP/2 client that is cut may take to take our last words.
pub const HTTP2_FAREWELL: Duration = Duration::from_secs(2);

/// Frames of an HTTP/2 client, other than bodies, that the codec is given before it must write what they lead to: only
/// that shows what they cost.
pub const HTTP2_BATCH_FRAMES: u32 = 32;

/// How long an HTTP/2 connection that we have ended is read for the client to hear our last words.
pub const HTTP2_CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What is thrown away of it meanwhile, bytes.
pub const HTTP2_CLOSE_BYTES_MAX: usize = 1024 * 1024;

/// Frames of an HTTP/2 endpoint, other than bodies, that are read before streams and other connections have their turn: interim
/// answers pile up until then.
pub const UPSTREAM_BATCH_FRAMES: usize = 64;

/// Limits of the data plane and of what surrounds it. `Default` is the safe one.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Wait for the first byte on a port whose protocol is detected.
    pub detect_timeout: Duration,
    /// From the first byte of a request head to its last.
    pub request_head_timeout: Duration,
    /// A keep-alive connection with no request on it.
    pub idle_timeout: Duration,
    /// A TCP relay, or an upgraded connection, with no byte either way.
    pub tcp_idle_timeout: Duration,
    /// How long an HTTP/1 client that has closed its sending side is still answered.
    pub half_close_timeout: Duration,
    /// Least rate at which an HTTP/1 client must send the body of a request, bytes per second.
    pub body_rate_min_bytes: u32,
    /// How long it may send none of it. Bytes that come faster than asked for allow for longer pauses
    /// later, up to six times this.
    pub body_rate_grace: Duration,
    /// Silence of a request or response body.
    pub stream_idle_timeout: Duration,
    /// One TCP connect to an endpoint.
    pub connect_timeout: Duration,
    /// Request line and headers of one request, bytes.
    pub header_bytes_max: usize,
    /// Target of one request, path and query, bytes.
    pub target_bytes_max: usize,
    /// Status line and headers of one answer, bytes.
    pub response_head_bytes_max: usize,
    /// What of a request's body is kept until its answer begins, to send it again, bytes.
    pub replay_bytes_max: usize,
    /// Header fields of one request.
    pub header_fields_max: usize,
    /// How often one request may come to listeners of Gateways before it counts as going in a circle.
    pub passes_max: u32,
    /// Concurrent streams of one downstream HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Flow-control window of one HTTP/2 stream, bytes.
    pub http2_stream_window: u32,
    /// Flow-control window of one downstream HTTP/2 connection, bytes.
    pub http2_connection_window: u32,
    /// Flow-control window of one upstream HTTP/2 connection, bytes. It also bounds small frames that wait
    /// to be read: 512 bytes of it allow one frame, and one too many ends the connection (crate `h2`).
    pub http2_upstream_window: u32,
    /// Bytes that wait to be written, per stream of an HTTP/2 connection to either side.
    pub http2_send_buffer: u32,
    /// Frames of bodies with next to no bytes that may wait to be read on a downstream HTTP/2 connection.
    pub http2_small_frames_max: usize,
    /// A downstream HTTP/2 connection with no request on it.
    pub http2_idle_timeout: Duration,
    /// Silence of an HTTP/2 client after which it is asked whether it is there.
    pub http2_ping_interval: Duration,
    /// How long it may take to answer that.
    pub http2_ping_timeout: Duration,
    /// Control frames (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, unknown) at once from the other
    /// side of an HTTP/2 connection, beyond those that requests and answers bring with them.
    pub http2_control_burst: u32,
    /// Requests at once that are reset before they can be answered, and errors that reset a stream.
    pub http2_resets_burst: u32,
    /// Streams at once above `http2_streams_max`; each is refused, too many end the connection.
    pub http2_refused_burst: u32,
    /// How many of each of these come back per second.
    pub http2_frames_per_second: u32,
    /// How long a client may take no byte of an answer that waits for it.
    pub response_stall_timeout: Duration,
    /// Captured pods of this node.
    pub pods_max: usize,
    /// How often captured pods are looked at: is the namespace still there, are its addresses the same.
    pub pod_check_interval: Duration,
    /// Downstream connections of one pod on this node.
    pub pod_connections_max: usize,
    /// Downstream connections of one source address of gateway listeners; of IPv6, of one /64.
    pub source_connections_max: usize,
    /// Downstream connections of the process.
    pub connections_max: usize,
    /// Descriptors that the process may have open.
    pub descriptors_max: usize,
    /// Of these, percent that downstream connections cannot have: half of it is for connections to
    /// endpoints, the rest for the admin socket, the configuration and whatever else must go on.
    pub descriptors_reserved_percent: usize,
    /// Of the descriptors and connections that there may be, percent that one pod or address can have.
    pub holder_percent: usize,
    /// Longest that what a worker has to do may wait for its turn, as time that the worker is busy with
    /// other requests; while all of it waits longer, requests wait for others to end, or are refused.
    pub queue_delay_max: Duration,
    /// Memory of the process, bytes. `None`: that of its cgroup.
    pub memory_bytes_max: Option<u64>,
    /// How often the memory in use is looked at.
    pub memory_check_interval: Duration,
    /// Idle upstream connections kept per worker, pod and endpoint, once the traffic that needed more is over.
    pub pool_idle_max: usize,
    /// Upstream connections per worker, pod and endpoint, in use or idle.
    pub pool_connections_max: usize,
    /// How long an idle upstream connection is kept.
    pub pool_idle_timeout: Duration,
    /// Repeats of an attempt that provably did not reach an endpoint, when no policy says otherwise.
    pub retry_attempts: u32,
    /// Least wait before such a repeat where a policy does not say.
    pub retry_backoff: Duration,
    /// Share of requests that may be repeated, percent over the last ten seconds, per cluster.
    pub retry_budget_percent: u32,
    /// Repeats per second that are always allowed, per cluster.
    pub retry_budget_min_per_second: u32,
    /// Consecutive connect failures or resets that eject an endpoint.
    pub outlier_consecutive: u32,
    /// First ejection; doubles each time.
    pub outlier_ejection: Duration,
    /// Longest ejection.
    pub outlier_ejection_max: Duration,
    /// Below this share of usable endpoints, percent, ejections are ignored (panic rule).
    pub panic_threshold_percent: u32,
    /// Clients that are remembered for Services with session affinity, in the process.
    pub affinity_clients_max: usize,
    /// How long an in-pod listener that is no longer chosen still accepts connects that were under way.
    pub late_accept_timeout: Duration,
    /// While draining, how long a keep-alive connection without a request is kept for one more.
    pub drain_idle_timeout: Duration,
    /// How long SIGTERM waits for requests in flight.
    pub drain_timeout: Duration,
    /// Access-log records that wait per worker.
    pub log_ring_records: usize,
    /// Batches of records, each at most a worker's ring, that wait for the access log's thread.
    pub log_batches_max: usize,
    /// Longest field of an access-log line, bytes.
    pub log_field_bytes: usize,
    /// Series of one metric family.
    pub metric_series_max: usize,
    /// Records that `explain --id` can look back on.
    pub explain_records: usize,
    /// Compiled size of one regular expression, bytes.
    pub regex_bytes_max: usize,
    /// Compiled size of all regular expressions of one route, bytes.
    pub route_regex_bytes_max: usize,
    /// Those of a configuration folder.
    pub folder: FolderLimits,
    /// How long a downstream connection is used.
    pub connection: ConnectionLimits,
    /// Those of one client over all of its connections.
    pub client: ClientLimits,
    /// Those of following an API server.
    pub api: ApiLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            detect_timeout: Duration::from_secs(5),
            request_head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            tcp_idle_timeout: Duration::from_secs(3600),
            half_close_timeout: Duration::from_secs(10),
            body_rate_min_bytes: 256,
            body_rate_grace: Duration::from_secs(10),
            stream_idle_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(2),
            header_bytes_max: 32 * 1024,
            target_bytes_max: 8 * 1024,
            response_head_bytes_max: 64 * 1024,
            replay_bytes_max: 64 * 1024,
            header_fields_max: 100,
            passes_max: 3,
            http2_streams_max: 100,
            http2_stream_window: 64 * 1024,
            http2_connection_window: 1024 * 1024,
            http2_upstream_window: 8 * 1024 * 1024,
            http2_send_buffer: 64 * 1024,
            http2_small_frames_max: 16 * 1024,
            http2_idle_timeout: Duration::from_secs(300),
            http2_ping_interval: Duration::from_secs(60),
            http2_ping_timeout: Duration::from_secs(20),
            http2_control_burst: 1000,
            http2_resets_burst: 100,
            http2_refused_burst: 1000,
            http2_frames_per_second: 10,
            response_stall_timeout: Duration::from_secs(30),
            pods_max: 1024,
            pod_check_interval: Duration::from_millis(500),
            pod_connections_max: 8192,
            source_connections_max: 25_000,
            connections_max: 50_000,
            descriptors_max: usize::MAX,
            descriptors_reserved_percent: 10,
            holder_percent: 75,
            queue_delay_max: Duration::from_millis(100),
            memory_bytes_max: None,
            memory_check_interval: Duration::from_millis(100),
            pool_idle_max: 64,
            pool_connections_max: 1024,
            pool_idle_timeout: Duration::from_secs(60),
            retry_attempts: 2,
            retry_backoff: Duration::from_millis(25),
            retry_budget_percent: 20,
            retry_budget_min_per_second: 10,
            outlier_consecutive: 3,
            outlier_ejection: Duration::from_secs(5),
            outlier_ejection_max: Duration::from_secs(60),
            panic_threshold_percent: 50,
            affinity_clients_max: 65_536,
            late_accept_timeout: Duration::from_millis(500),
            drain_idle_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(30),
            log_ring_records: 4096,
            log_batches_max: 8,
            log_field_bytes: 1024,
            metric_series_max: 2000,
            explain_records: 4096,
            regex_bytes_max: 64 * 1024,
            route_regex_bytes_max: 1024 * 1024,
            folder: FolderLimits::default(),
            connection: ConnectionLimits::default(),
            client: ClientLimits::default(),
            api: ApiLimits::default(),
        }
    }
}

/// How a folder of configuration is read.
#[derive(Debug, Clone)]
pub struct FolderLimits {
    /// Files that are read.
    pub files_max: usize,
    /// One file, bytes.
    pub file_bytes_max: u64,
    /// Quiet time after a file event before the file is read: what is written together is read together.
    pub debounce: Duration,
    /// The longest that an unbroken burst of events can hold back changes of files that are whole.
    pub burst_max: Duration,
    /// How often the folder is looked at whether or not an event says so; also the longest that a file is held
    /// back which is being written all the time.
    pub poll_interval: Duration,
}

impl Default for FolderLimits {
    fn default() -> Self {
        Self {
            files_max: 10_000,
            file_bytes_max: 8 * 1024 * 1024,
            debounce: Duration::from_millis(2),
            burst_max: Duration::from_millis(20),
            poll_interval: Duration::from_secs(5),
        }
    }
}

/// After what a downstream HTTP connection is asked to go: by `Connection: close`, or by GOAWAY. What is in
/// flight, however long it takes, ends in its own time.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Its age: new connections find the gateways and workers that there are by then. `None`: any.
    pub age_max: Option<Duration>,
    /// Percent of that by which each connection's own is less at most, so that they do not all go at once.
    pub age_spread_percent: u32,
    /// Requests on it. `None`: any number.
    pub requests_max: Option<u64>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { age_max: Some(Duration::from_secs(3600)), age_spread_percent: 20, requests_max: None }
    }
}

impl ConnectionLimits {
    /// The age of one connection, by a random number.
    pub fn age(&self, random: u64) -> Option<Duration> {
        let share = u32::try_from(random % 1000).unwrap_or(0);
        self.age_max.map(|max| max - max / 100_000 * self.age_spread_percent.min(100) * share)
    }
}

/// What one pod, or one source address of gateway listeners, may do over all of its connections.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Requests of HTTP/2 at once that it gives up before they can be answered, or has us give up by an error.
    /// Each answer that it waits for allows for one more, on its connection.
    pub resets_burst: u32,
    /// How many of these come back per second.
    pub resets_per_second: u32,
    /// Clients that such resets are counted of, per worker.
    pub remembered_max: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self { resets_burst: 1000, resets_per_second: 50, remembered_max: 4096 }
    }
}

/// Pace of `weir controller`.
#[derive(Debug, Clone)]
pub struct ControllerLimits {
    /// Objects that are looked at to be written, per second.
    pub writes_per_second: u32,
    /// As many at once after a rest.
    pub writes_burst: u32,
    /// Wait after a write that failed, or that another writer undid; doubles each time.
    pub write_retry: Duration,
    /// The longest such wait.
    pub write_retry_max: Duration,
    /// How long the record of the election must rest before another controller takes it.
    pub lease_duration: Duration,
    /// How long after its last renewal a controller goes on leading. Less than `lease_duration`.
    pub lease_renew_deadline: Duration,
    /// Between two renewals, or two looks at the record.
    pub lease_retry: Duration,
}

impl Default for ControllerLimits {
    fn default() -> Self {
        Self {
            writes_per_second: 50,
            writes_burst: 100,
            write_retry: Duration::from_millis(500),
            write_retry_max: Duration::from_secs(300),
            lease_duration: Duration::from_secs(15),
            lease_renew_deadline: Duration::from_secs(10),
            lease_retry: Duration::from_secs(2),
        }
    }
}

/// Ends of following an API server, and of keeping what it said.
#[derive(Debug, Clone)]
pub struct ApiLimits {
    /// Least time between two changes from the API server that are told; those between come together.
    pub change_interval: Duration,
    /// Longest wait of what was known before a restart for the API server to say what has happened since.
    pub restored_wait: Duration,
    /// One object of the API server, bytes of JSON.
    pub object_bytes_max: usize,
    /// Objects of one page, where the API server cannot stream a list.
    pub page_objects: usize,
    /// How long a watch may last before it is renewed; each draws its own between half of it and all.
    pub watch_duration: Duration,
    /// How long a watch may be silent before it is renewed. The API server says something each minute.
    pub watch_silence: Duration,
    /// The longest that a node waits before it comes back after its connection broke; each draws its own.
    pub reconnect_max: Duration,
    /// The longest that it waits before a list that replaces what it knows; each draws its own.
    pub relist_max: Duration,
    /// The longest between attempts that keep failing; each draws its own.
    pub retry_max: Duration,
    /// How often the API server is asked which kinds it has, while one that Weir could use is missing.
    pub discovery_missing_interval: Duration,
    /// The same while none is missing.
    pub discovery_interval: Duration,
    /// Least time between two writes of what is known to disk.
    pub state_write_interval: Duration,
    /// The file with what is known, bytes.
    pub state_bytes_max: u64,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            change_interval: Duration::from_millis(5),
            restored_wait: Duration::from_millis(300),
            object_bytes_max: 8 * 1024 * 1024,
            page_objects: 500,
            watch_duration: Duration::from_secs(10 * 60),
            watch_silence: Duration::from_secs(150),
            reconnect_max: Duration::from_secs(2),
            relist_max: Duration::from_secs(10),
            retry_max: Duration::from_secs(30),
            discovery_missing_interval: Duration::from_secs(30),
            discovery_interval: Duration::from_secs(300),
            state_write_interval: Duration::from_secs(30),
            state_bytes_max: 256 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Has the process make do with so many descriptors: it never has more connections than these allow.
    pub fn fit_descriptors(&mut self, descriptors: usize) {
        self.descriptors_max = descriptors;
        self.connections_max = self.connections_max.min(self.descriptors_usable()).max(1);
        let one = percent_of(self.connections_max, self.holder_percent).max(1);
        self.pod_connections_max = self.pod_connections_max.min(one);
        self.source_connections_max = self.source_connections_max.min(one);
    }

    /// Descriptors that downstream connections may use.
    pub const fn descriptors_usable(&self) -> usize {
        self.descriptors_max - self.descriptors_reserved()
    }

    /// Descriptors that connections to endpoints may use, too.
    pub const fn descriptors_usable_upstream(&self) -> usize {
        self.descriptors_max - self.descriptors_reserved() / 2
    }

    const fn descriptors_reserved(&self) -> usize {
        percent_of(self.descriptors_max, self.descriptors_reserved_percent)
    }
}

/// Of any number: without a product that could be too large.
const fn percent_of(whole: usize, percent: usize) -> usize {
    whole / 100 * percent + whole % 100 * percent / 100
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ConnectionLimits, Limits};

    #[test]
    fn few_descriptors_allow_few_connections_and_nobody_has_them_all() {
        let mut limits = Limits::default();
        limits.fit_descriptors(1024);
        assert_eq!((limits.descriptors_usable(), limits.descriptors_usable_upstream()), (922, 973));
        assert_eq!(limits.connections_max, 922);
        assert_eq!((limits.pod_connections_max, limits.source_connections_max), (691, 691));
    }

    #[test]
    fn connections_of_one_age_do_not_go_at_once() {
        let limits = ConnectionLimits::default();
        assert_eq!(limits.age(0), Some(Duration::from_secs(3600)));
        assert_eq!(limits.age(500), Some(Duration::from_secs(3240)));
        assert!((0..5000).filter_map(|random| limits.age(random)).all(|age| age > Duration::from_secs(2880)));
        assert_eq!(ConnectionLimits { age_max: None, ..limits }.age(7), None);
    }

    #[test]
    fn enough_descriptors_change_no_limit() {
        let (mut limits, default) = (Limits::default(), Limits::default());
        limits.fit_descriptors(1 << 20);
        assert_eq!(limits.connections_max, default.connections_max);
        assert_eq!(limits.pod_connections_max, default.pod_connections_max);
        assert_eq!(limits.source_connections_max, default.source_connections_max);
    }
}
