// What clients see of the faults in fault-table-http2.ts (`…`: Envoy's own first words), and what the log says: status, flags, details,
// transport's reason. Stock Envoy 1.40's values.

interface Outcome {
  readonly http1: readonly [seen: string, logged: string];
  readonly http2: readonly [seen: string, logged: string];
}

export const HTTP2_OUTCOMES: { readonly [what: string]: Outcome | undefined } = {
  name: {
    http1: ['503 whole no healthy upstream', '503 UH no_healthy_upstream '],
    http2: ['503 whole no healthy upstream', '503 UH no_healthy_upstream '],
  },
  fine: { http1: ['200 whole ok', '200  via_upstream '], http2: ['200 whole ok', '200  via_upstream '] },
  'connect refused': {
    http1: [
      '503 whole …reset reason: remote connection failure',
      '503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} delayed_connect_error:_Connection_refused',
    ],
    http2: [
      '503 whole …reset reason: remote connection failure',
      '503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} delayed_connect_error:_Connection_refused',
    ],
  },
  'end at once': {
    http1: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
    http2: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
  },
  'reset at once': {
    http1: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
    http2: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
  },
  'HTTP/1 answer': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  garbage: {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'end before head': {
    http1: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
    http2: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
  },
  'reset before head': {
    http1: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
    http2: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
  },
  'GOAWAY refuses': {
    http1: [
      '503 whole …reset reason: remote refused stream reset',
      '503 UR upstream_reset_before_response_started{remote_refused_stream_reset} ',
    ],
    http2: [
      '503 whole …reset reason: remote refused stream reset',
      '503 UR upstream_reset_before_response_started{remote_refused_stream_reset} ',
    ],
  },
  'GOAWAY refuses, then end': {
    http1: [
      '503 whole …reset reason: remote refused stream reset',
      '503 UR upstream_reset_before_response_started{remote_refused_stream_reset} ',
    ],
    http2: [
      '503 whole …reset reason: remote refused stream reset',
      '503 UR upstream_reset_before_response_started{remote_refused_stream_reset} ',
    ],
  },
  'GOAWAY takes, then answers': { http1: ['200 whole ok', '200  via_upstream '], http2: ['200 whole ok', '200  via_upstream '] },
  'GOAWAY error then end': {
    http1: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
    http2: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_before_response_started{connection_termination} '],
  },
  'GOAWAY after head': { http1: ['200 whole hello', '200  via_upstream '], http2: ['200 whole hello', '200  via_upstream '] },
  'end before head, tried again': { http1: ['200 whole ok', '200  via_upstream '], http2: ['200 whole ok', '200  via_upstream '] },
  'GOAWAY error': { http1: ['none', '0 DC downstream_remote_disconnect '], http2: ['hangs', '0 DC downstream_remote_disconnect '] },
  'RST 0 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'RST 1 before head': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'RST 2 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'RST 3 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'RST 5 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'RST 7 before head': {
    http1: [
      '503 whole …reset reason: remote refused stream reset',
      '503 UR upstream_reset_before_response_started{remote_refused_stream_reset} ',
    ],
    http2: [
      '503 whole …reset reason: remote refused stream reset',
      '503 UR upstream_reset_before_response_started{remote_refused_stream_reset} ',
    ],
  },
  'RST 8 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'GOAWAY 0 after head': {
    http1: ['200 cut he', '200 UR upstream_reset_after_response_started{remote_refused_stream_reset} '],
    http2: ['200 reset 2 he', '200 UR upstream_reset_after_response_started{remote_refused_stream_reset} '],
  },
  'RST 9 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'RST 10 before head': {
    http1: [
      '503 whole …reset reason: remote error with CONNECT request',
      '503 UR upstream_reset_before_response_started{remote_error_with_CONNECT_request} ',
    ],
    http2: [
      '503 whole …reset reason: remote error with CONNECT request',
      '503 UR upstream_reset_before_response_started{remote_error_with_CONNECT_request} ',
    ],
  },
  'RST 11 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'RST 12 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'RST 13 before head': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'RST 7, tried again': { http1: ['200 whole ok', '200  via_upstream '], http2: ['200 whole ok', '200  via_upstream '] },
  'RST 8, tried again': { http1: ['200 whole ok', '200  via_upstream '], http2: ['200 whole ok', '200  via_upstream '] },
  'RST 8, tried in vain': {
    http1: [
      '503 whole …retried and the latest reset reason: remote reset',
      '503 URX,UR upstream_reset_before_response_started{remote_reset} ',
    ],
    http2: [
      '503 whole …retried and the latest reset reason: remote reset',
      '503 URX,UR upstream_reset_before_response_started{remote_reset} ',
    ],
  },
  'RST 0 after the end': { http1: ['200 whole ok', '200  via_upstream '], http2: ['200 whole ok', '200  via_upstream '] },
  'RST 0 after head': {
    http1: ['200 cut hello', '200 UR upstream_reset_after_response_started{remote_reset} '],
    http2: ['200 reset 2 hello', '200 UR upstream_reset_after_response_started{remote_reset} '],
  },
  'RST 1 after head': {
    http1: ['200 cut hello', '200 UPE upstream_reset_after_response_started{protocol_error} '],
    http2: ['200 reset 2 hello', '200 UPE upstream_reset_after_response_started{protocol_error} '],
  },
  'RST 2 after head': {
    http1: ['200 cut hello', '200 UR upstream_reset_after_response_started{remote_reset} '],
    http2: ['200 reset 2 hello', '200 UR upstream_reset_after_response_started{remote_reset} '],
  },
  'RST 7 after head': {
    http1: ['200 cut hello', '200 UR upstream_reset_after_response_started{remote_refused_stream_reset} '],
    http2: ['200 reset 2 hello', '200 UR upstream_reset_after_response_started{remote_refused_stream_reset} '],
  },
  'RST 8 after head': {
    http1: ['200 cut hello', '200 UR upstream_reset_after_response_started{remote_reset} '],
    http2: ['200 reset 2 hello', '200 UR upstream_reset_after_response_started{remote_reset} '],
  },
  'end mid-body': {
    http1: ['200 cut hello', '200 UC upstream_reset_after_response_started{connection_termination} '],
    http2: ['200 reset 2 hello', '200 UC upstream_reset_after_response_started{connection_termination} '],
  },
  'reset mid-body': {
    http1: ['200 cut hello', '200 UC upstream_reset_after_response_started{connection_termination} '],
    http2: ['200 reset 2 hello', '200 UC upstream_reset_after_response_started{connection_termination} '],
  },
  'bad window update 0 stream': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'window overflow stream': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'window overflow connection': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'window update 0 connection': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'bad settings': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'oversized data frame': {
    http1: ['200 cut ', '200 UPE upstream_reset_after_response_started{protocol_error} '],
    http2: ['200 reset 2 ', '200 UPE upstream_reset_after_response_started{protocol_error} '],
  },
  'too long for its length': {
    http1: ['200 cut ', '200 UPE upstream_reset_after_response_started{protocol_error} '],
    http2: ['200 reset 2 ', '200 UPE upstream_reset_after_response_started{protocol_error} '],
  },
  'head only then end': {
    http1: ['200 cut ', '200 UC upstream_reset_after_response_started{connection_termination} '],
    http2: ['200 reset 2 ', '200 UC upstream_reset_after_response_started{connection_termination} '],
  },
  'data before head': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'push promise': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'headers on unknown stream': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'no status': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'status 99': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'status abc': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'upper case header': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'connection header': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'two lengths': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'bad hpack': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  '101 fields': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'head of 50 KiB': { http1: ['200 whole ', '200  via_upstream '], http2: ['200 whole ', '200  via_upstream '] },
  'head of 70 KiB': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'bad header value': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  'trailers without end': {
    http1: ['200 cut hello', '200 UPE upstream_reset_after_response_started{protocol_error} '],
    http2: ['200 reset 2 hello', '200 UPE upstream_reset_after_response_started{protocol_error} '],
  },
  'trailers with pseudo': {
    http1: ['200 cut hello', '200 UPE upstream_reset_after_response_started{protocol_error} '],
    http2: ['200 reset 2 hello', '200 UPE upstream_reset_after_response_started{protocol_error} '],
  },
  'good trailers': { http1: ['200 whole hello', '200  via_upstream '], http2: ['200 whole hello {"a":"b"}', '200  via_upstream '] },
  '100 then end': {
    http1: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_after_response_started{connection_termination} '],
    http2: ['503 whole …reset reason: connection termination', '503 UC upstream_reset_after_response_started{connection_termination} '],
  },
  'stalled head': {
    http1: ['504 whole upstream request timeout', '504 UT response_timeout '],
    http2: ['504 whole upstream request timeout', '504 UT response_timeout '],
  },
  'stalled per try': {
    http1: ['504 whole upstream request timeout', '504 URX,UT upstream_per_try_timeout '],
    http2: ['504 whole upstream request timeout', '504 URX,UT upstream_per_try_timeout '],
  },
  'trailers upper case': {
    http1: ['200 cut hello', '200 UPE upstream_reset_after_response_started{protocol_error} '],
    http2: ['200 reset 2 hello', '200 UPE upstream_reset_after_response_started{protocol_error} '],
  },
  'trailers too many': {
    http1: ['200 cut hello', '200 UR upstream_reset_after_response_started{remote_reset} '],
    http2: ['200 reset 2 hello', '200 UR upstream_reset_after_response_started{remote_reset} '],
  },
  'stalled body': { http1: ['200 cut hello', '200 UT response_timeout '], http2: ['200 reset 2 hello', '200 UT response_timeout '] },
  idle: { http1: ['200 cut hello', '200 SI stream_idle_timeout '], http2: ['200 reset 2 hello', '200 SI stream_idle_timeout '] },
  '101': {
    http1: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
    http2: ['502 whole …reset reason: protocol error', '502 UPE upstream_reset_before_response_started{protocol_error} '],
  },
  '204 with body': {
    http1: ['204 whole ', '204 UPE upstream_reset_after_response_started{protocol_error} '],
    http2: ['204 reset 2 ', '204 UPE upstream_reset_after_response_started{protocol_error} '],
  },
  'early answer': { http1: ['413 whole no', '413  via_upstream '], http2: ['413 whole no', '413  via_upstream '] },
  'early answer and RST 0': { http1: ['413 whole no', '413  via_upstream '], http2: ['413 whole no', '413  via_upstream '] },
  'early RST 8': {
    http1: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
    http2: ['503 whole …reset reason: remote reset', '503 UR upstream_reset_before_response_started{remote_reset} '],
  },
  'settings max streams 0': {
    http1: ['504 whole upstream request timeout', '504 UT response_timeout '],
    http2: ['504 whole upstream request timeout', '504 UT response_timeout '],
  },
};
