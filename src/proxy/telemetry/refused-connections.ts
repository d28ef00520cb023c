// The connections that a sidecar's network filters refused, for its control plane: few a report, the first of them, told as the access log
// service has TCP connections. Beyond, they are counted and not told: a flood of strangers is not passed on. Loaded only where summaries are on.
import type { StreamInfo } from '../../plan/stream-info.ts';
import { Writer } from '../../xds/wire-format.ts';
import { principal } from './parties.ts';
import { address, message, pair, text, time } from './request-choice.ts';

/** Of one worker, a report. */
const KEPT_MAX = 50;

interface Refused {
  readonly startMs: number;
  readonly durationMs: number;
  readonly remote: string;
  readonly local: string;
  readonly principal: string;
  readonly sni: string;
  readonly details: string;
}

export class RefusedConnections {
  #kept: Refused[] = [];
  /** Since the process began. */
  passedOver = 0;

  /** `info` is of a connection that has ended; what nobody refused is not kept. */
  offer(info: StreamInfo): void {
    const details = info.connectionTerminationDetails || info.responseCodeDetails;
    if (!DENIED.test(details)) return;
    if (this.#kept.length >= KEPT_MAX) {
      this.passedOver++;
      return;
    }
    this.#kept.push({
      startMs: info.startTime,
      durationMs: Math.max(0, info.endTime - info.startTime),
      remote: info.downstreamDirectRemoteAddress,
      local: info.downstreamLocalAddress,
      principal: principal(info.downstreamTls?.peer),
      sni: info.requestedServerName,
      details,
    });
  }

  /** What was refused since the last report, as a StreamAccessLogsMessage; undefined when that is nothing. */
  report(): Uint8Array | undefined {
    if (this.#kept.length === 0) return undefined;
    const w = new Writer();
    message(w, 3, () => {
      for (const one of this.#kept) writeEntry(w, one);
    });
    this.#kept = [];
    return w.finish();
  }
}

/** Of authorization by rules and by an external server; other ends are nobody's decision about a caller. */
const DENIED = /^(rbac_access_denied|ext_authz_denied)/;

const writeEntry = (w: Writer, { startMs, durationMs, remote, local, principal: who, sni, details }: Refused): void =>
  message(w, 1, () =>
    message(w, 1, () => {
      address(w, 2, remote);
      address(w, 3, local);
      if (sni !== '' || who !== '')
        message(w, 4, () => {
          text(w, 3, sni);
          if (who !== '') message(w, 5, () => message(w, 1, () => text(w, 1, who)));
        });
      time(w, 5, startMs);
      address(w, 20, remote);
      pair(w, 22, 'reporter', 'destination');
      time(w, 23, durationMs);
      text(w, 25, details);
    }),
  );
