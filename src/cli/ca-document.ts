// What the control plane says of its certificate authority (GET /v1/ca), and how remaining life is told to people.

export interface CaDocument {
  readonly kind: 'own' | 'folder' | 'signer';
  readonly now: string;
  readonly leafSeconds: number;
  readonly roots: readonly CaRoot[];
  readonly intermediate?: { readonly subject: string; readonly notBefore: string; readonly notAfter: string };
  readonly rotation?: {
    readonly phase: string;
    readonly automatic: boolean;
    readonly next: string;
    readonly soundFrom: string;
    readonly due?: string;
    readonly replaced: number;
  };
  /** Without `trustDomains`: for every one. */
  readonly federated: readonly { readonly subject: string; readonly notAfter: string; readonly trustDomains?: readonly string[] }[];
  readonly issued: number;
  readonly leavesByRoot: Readonly<Record<string, number>>;
  readonly leaves: readonly CaLeaf[];
}

export interface CaRoot {
  readonly id: string;
  readonly subject: string;
  readonly notBefore: string;
  readonly notAfter: string;
  readonly signs: boolean;
}

export interface CaLeaf {
  readonly holder: string;
  readonly identity: string;
  readonly root: string;
  readonly issuedAt: string;
  readonly notAfter: string;
}

/** `45s`, `3m`, `22h`, `29d` left; `ended` when it is over. */
export const left = (iso: string, nowMs: number): string => {
  const seconds = Math.floor((Date.parse(iso) - nowMs) / 1000);
  if (seconds <= 0) return 'ended';
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
};
