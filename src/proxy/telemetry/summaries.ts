// Switches summaries on for one data plane: a recorder that the observer feeds, and a report every few seconds. What is told is handed to
// `deliver`: in a further worker that is a message to the main thread. Loaded only where summaries are on.
import type { Node } from '../../xds/gen/types.ts';
import type { Clock } from '../clock.ts';
import { peerOf } from './peer-metadata.ts';
import { RefusedConnections } from './refused-connections.ts';
import { RequestChoice } from './request-choice.ts';
import type { SummaryReport } from './summary-link.ts';
import { SummaryRecorder } from './summary-recorder.ts';
import type { Telemetry } from './telemetry.ts';

export interface SummariesOptions {
  readonly telemetry: Telemetry;
  readonly node: Node;
  readonly clock: Clock;
  readonly everyMs: number;
  readonly deliver: (report: SummaryReport) => void;
}

/** Returns how to end it; what was not told yet is told then. */
export const recordSummaries = ({ telemetry, node, clock, everyMs, deliver }: SummariesOptions): (() => void) => {
  const choice = new RequestChoice();
  const refused = new RefusedConnections();
  const gateway = (node.id ?? '').startsWith('router~');
  const recorder = new SummaryRecorder({ own: peerOf(node.metadata ?? {}), gateway, choice, refused });
  telemetry.summaries = recorder;
  let cancel = (): void => undefined;
  const report = (): void => {
    const said = { metrics: recorder.report(), requests: choice.report(), connections: refused.report() };
    if (said.metrics !== undefined || said.requests !== undefined || said.connections !== undefined) deliver(said);
  };
  const again = (): void => {
    report();
    cancel = clock.after(everyMs, again);
  };
  cancel = clock.after(everyMs, again);
  return () => {
    cancel();
    telemetry.summaries = undefined;
    report();
  };
};
