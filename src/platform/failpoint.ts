// Named places where tests have this process killed, stopped or fail (docs/reliability.md has them). What happens there is given once, by who knows the
// environment: native/failpoint.c for the shim, node-failpoint.ts for holdfastd.

let reached: ((name: string) => void) | undefined;

/** This process has come to that place. */
export function failpoint(name: string): void {
  reached?.(name);
}

/** Whether anything would happen at any place. */
export function hasFailpoints(): boolean {
  return reached !== undefined;
}

export function useFailpoints(reach: (name: string) => void): void {
  reached = reach;
}
