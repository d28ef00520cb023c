// What the control plane's metrics mean, under istiod's names where it has them. Counters without labels are told from
// the start, so that a dashboard shows zero rather than nothing.

interface Told {
  readonly help: string;
  /** Without labels: there from the start. */
  readonly plain?: true;
  /** Seconds or bytes, of a histogram. */
  readonly bounds?: readonly number[];
}

const CONVERGENCE = [0.1, 0.5, 1, 3, 5, 10, 20, 30] as const;

export const TOLD: Readonly<Record<string, Told>> = {
  pilot_info: { help: 'Always 1; the version is a label.' },
  istio_build: { help: 'Always 1; component and version are labels.' },
  process_cpu_seconds_total: { help: 'Processor time that this process has had, in seconds.', plain: true },
  process_resident_memory_bytes: { help: 'Memory of this process that is in RAM.' },
  process_virtual_memory_bytes: { help: 'Addresses that this process has mapped.' },
  process_start_time_seconds: { help: 'When this process began, seconds since 1970.' },
  process_open_fds: { help: 'Files and sockets that this process has open.' },
  process_max_fds: { help: 'How many of them it may have.' },
  pilot_xds: { help: 'Proxies with an xDS stream, by their version.' },
  pilot_xds_pushes: { help: 'Pushes that proxies have answered, by type of resource.' },
  pilot_xds_push_time: {
    help: 'From the begin of a push of one type to its last byte written, in seconds.',
    bounds: [0.01, 0.1, 1, 3, 5, 10, 20, 30],
  },
  pilot_xds_config_size_bytes: {
    help: 'Sizes of what was pushed, by type of resource.',
    bounds: [1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000],
  },
  pilot_xds_push_errors: { help: 'Pushes a proxy did not take in time.', plain: true },
  pilot_proxy_queue_time: { help: 'How long a proxy waited for its push, in seconds.', bounds: CONVERGENCE },
  pilot_proxy_convergence_time: {
    help: 'From a change to the answer of a proxy that has all of it, in seconds.',
    bounds: CONVERGENCE,
  },
  pilot_push_triggers: { help: 'Pushes begun, by what caused them.' },
  pilot_inbound_updates: { help: 'Changes taken from sources, by kind.' },
  pilot_total_xds_rejects: { help: 'Answers of proxies that refused what was pushed.' },
  pilot_xds_cds_reject: { help: 'Clusters refused, by proxy.', plain: true },
  pilot_xds_eds_reject: { help: 'Endpoints refused, by proxy.', plain: true },
  pilot_xds_lds_reject: { help: 'Listeners refused, by proxy.', plain: true },
  pilot_xds_rds_reject: { help: 'Routes refused, by proxy.', plain: true },
  pilot_xds_translate_failures: { help: 'Proxies that keep their configuration because the next could not be made.' },
  pilot_xds_stream_refusals: { help: 'xDS streams that were refused.' },
  pilot_services: { help: 'Services in the mesh.' },
  pilot_virt_services: { help: 'VirtualServices in force.' },
  pilot_total_rejected_configs: { help: 'Problems for which something that was written is not in force.' },
  pilot_vservice_dup_domain: { help: 'Domains that more than one VirtualService claims.' },
  pilot_conflict_inbound_listener: { help: 'Inbound ports claimed in two ways.' },
  pilot_duplicate_envoy_clusters: { help: 'Clusters that more than one ServiceEntry of a host would make.' },
  citadel_server_csr_count: { help: 'Certificate requests received.', plain: true },
  citadel_server_authentication_failure_count: { help: 'Certificate requests of callers who could not prove who they are.', plain: true },
  citadel_server_csr_parsing_err_count: { help: 'Certificate requests that could not be read.', plain: true },
  citadel_server_csr_sign_err_count: { help: 'Certificate requests that were not signed, by reason.' },
  citadel_server_success_cert_issuance_count: { help: 'Certificates issued.', plain: true },
  citadel_server_root_cert_expiry_timestamp: { help: 'When the signing root ends, seconds since 1970.' },
  citadel_server_root_cert_expiry_seconds: { help: 'How long the signing root still lives, in seconds.' },
  citadel_server_cert_chain_expiry_timestamp: { help: 'When the first certificate of the signing chain ends, seconds since 1970.' },
  citadel_server_cert_chain_expiry_seconds: { help: 'How long the signing chain still lives, in seconds.' },
  galley_validation_passed: { help: 'Resources that are valid, by kind.' },
  galley_validation_failed: { help: 'Resources that were refused, by code of the problem.' },
  auto_registration_success_total: { help: 'Workloads that registered themselves.' },
  auto_registration_updates_total: { help: 'Registrations that were renewed.' },
  auto_registration_unregister_total: { help: 'Workloads that left.' },
  auto_registration_deletes_total: { help: 'Registrations removed after their grace.' },
  auto_registration_errors_total: { help: 'Registrations that failed.' },
  skein_config_generation: { help: 'Number of the configuration in force.' },
  skein_config_age_seconds: { help: 'Since when the configuration in force is the latest.' },
  skein_config_problems: { help: 'What is wrong in the configuration, by severity.' },
  skein_ca_roots: { help: 'Roots that are trusted.' },
  skein_ca_roots_replaced: { help: 'Roots that were replaced.' },
  skein_telemetry_series: { help: 'Series of the embedded summaries.' },
  skein_telemetry_bytes: { help: 'Memory of the embedded summaries: closed slices, requests and spans.' },
  skein_telemetry_requests: { help: 'Recent requests that are kept.' },
  skein_telemetry_spans: { help: 'Recent spans that are kept.' },
  skein_telemetry_slices_lost: { help: 'Minutes of the embedded summaries that could not be written to disk.' },
  skein_telemetry_messages: { help: 'Messages of proxies that were read, by stream.' },
  skein_telemetry_messages_dropped: { help: 'Messages of proxies that came faster than they are read.' },
  skein_telemetry_entries_dropped: { help: 'Log entries and spans that came faster than they are read.' },
};
