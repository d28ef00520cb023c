// `--mode validate`: every static resource is compiled as it would be at start, with no socket bound and nothing dialled.
import type { Log } from '../../base/log.ts';
import type { Bootstrap } from '../../xds/gen/types.ts';
import { systemClock } from '../clock.ts';
import { createDataPlane } from '../data-plane.ts';
import { UNKNOWN_PEER } from '../telemetry/parties.ts';
import { Telemetry } from '../telemetry/telemetry.ts';
import { Subscriptions } from '../xds/subscriptions.ts';

/** Throws with the resource and field of the first problem. */
export const validateBootstrap = async (bootstrap: Bootstrap, log: Log): Promise<void> => {
  const telemetry = new Telemetry({ own: UNKNOWN_PEER, version: '', clock: systemClock, random: Math.random });
  const dataPlane = createDataPlane({ log, observer: telemetry });
  const { secrets, clusters, listeners } = bootstrap.static_resources ?? {};
  const subscriptions = new Subscriptions({
    bootstrap: {
      static_resources: { secrets, clusters, listeners: listeners?.map((l) => ({ ...l, bind_to_port: false })) },
    },
    node: () => ({}),
    dataPlane,
    transport: () => ({ open: () => ({ send: () => undefined, close: () => undefined }) }),
    clock: systemClock,
    random: Math.random,
    rejectUnknownFields: false,
    log,
  });
  try {
    subscriptions.start();
  } finally {
    subscriptions.close();
    await telemetry.close();
    await dataPlane.close();
  }
};
