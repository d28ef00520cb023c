// istiod's figures for the same configuration and clients, read from files on a machine of two cores with the clients on it: what ours
// stand beside in the table. Facts, no code.

/** Undefined: was not recorded. */
export interface RecordedPhase {
  readonly lastSeconds?: number;
  readonly cpuSeconds?: number;
  readonly kibPerClient?: number;
}

export interface RecordedRun {
  readonly n: number;
  readonly clients: number;
  readonly rssMb?: number;
  readonly peakMb?: number;
  /** By the phase's name. */
  readonly phases: Readonly<Record<string, RecordedPhase>>;
}

export const ISTIOD_RECORDED: readonly RecordedRun[] = [
  {
    n: 1000,
    clients: 1000,
    rssMb: 2000,
    peakMb: 3200,
    phases: {
      'all configured': { lastSeconds: 92, cpuSeconds: 163 },
      'one weight': { lastSeconds: 10.6, cpuSeconds: 17, kibPerClient: 571 },
      'one endpoint': { lastSeconds: 1.5, cpuSeconds: 1.8, kibPerClient: 0.5 },
    },
  },
  {
    n: 300,
    clients: 300,
    phases: {
      'all configured': { lastSeconds: 8.4, cpuSeconds: 14 },
      'one weight': { lastSeconds: 1.6, cpuSeconds: 2 },
      'one endpoint': { lastSeconds: 0.7 },
    },
  },
];
