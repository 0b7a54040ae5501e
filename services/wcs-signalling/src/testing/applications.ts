import type { MessageInitShape } from '@bufbuild/protobuf';
import { FakeAuth } from '@weir/access/testing';
import { ApplicationPolicy, Auth, AuthEvents, ErrorCode, WeirError, type ApplicationSchema } from '@weir/contracts';

type ApplicationInit = MessageInitShape<typeof ApplicationSchema> & { appKey: string };

/** The applications that the stand-in for auth knows; from the start `defaultApp`, which is open. */
export class Applications {
  readonly #byKey = new Map<string, ApplicationInit>();
  /** How often auth was asked about one. */
  asked = 0;

  private constructor(readonly auth: FakeAuth) {
    auth.bus.serve(Auth.method.getApplication, ({ appKey }) => {
      this.asked += 1;
      const application = this.#byKey.get(appKey);
      if (application === undefined) throw new WeirError(ErrorCode.NOT_FOUND, 'no such application');
      return application;
    });
    this.set({ appKey: 'defaultApp', tenant: 'demo', policy: ApplicationPolicy.OPEN });
  }

  static async start(natsUrl: string): Promise<Applications> {
    const applications: Applications = new Applications(
      await FakeAuth.start(natsUrl, {
        hasEnded: (ref) => ref.kind === 'application' && !applications.#byKey.has(ref.appKey),
      }),
    );
    return applications;
  }

  set(application: ApplicationInit): void {
    this.#byKey.set(application.appKey, application);
    this.auth.bus.publish(AuthEvents.method.applicationChanged, { appKey: application.appKey });
  }

  remove(appKey: string): void {
    this.#byKey.delete(appKey);
    this.auth.bus.publish(AuthEvents.method.applicationChanged, { appKey });
  }
}
