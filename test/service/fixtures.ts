// The single owner of AdmissionReviews as a Kubernetes 1.36 API server sends them, written by hand after what one sent.

const managed = [
  {
    manager: 'kubectl-create',
    operation: 'Update',
    apiVersion: 'v1',
    time: '2026-11-20T10:00:00Z',
    fieldsType: 'FieldsV1',
    fieldsV1: {
      'f:spec': { 'f:containers': { 'k:{"name":"server"}': { '.': {}, 'f:image': {} } } },
    },
  },
]

export interface PodChoice {
  readonly namespace?: string
  readonly annotations?: Record<string, string>
  readonly volumes?: readonly object[]
  readonly containers?: readonly object[]
  readonly initContainers?: readonly object[]
  readonly ephemeralContainers?: readonly object[]
}

export function pod(options: PodChoice = {}): Record<string, unknown> {
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      name: 'server',
      namespace: options.namespace ?? 'serving',
      uid: '5c0e6f4e-6a0f-4c55-a4f7-0b9b6d3a7c11',
      creationTimestamp: '2026-11-20T10:00:00Z',
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
      managedFields: managed,
    },
    spec: {
      volumes: [
        ...(options.volumes ?? []),
        {
          name: 'kube-api-access-x7k2p',
          projected: {
            sources: [{ serviceAccountToken: { expirationSeconds: 3607, path: 'token' } }],
            defaultMode: 420,
          },
        },
      ],
      ...(options.initContainers === undefined ? {} : { initContainers: options.initContainers }),
      containers: options.containers ?? [
        {
          name: 'server',
          image: 'docker.io/vllm/vllm-openai:v0.11',
          resources: {},
          terminationMessagePath: '/dev/termination-log',
          imagePullPolicy: 'IfNotPresent',
        },
      ],
      ...(options.ephemeralContainers === undefined
        ? {}
        : { ephemeralContainers: options.ephemeralContainers }),
      restartPolicy: 'Always',
      serviceAccountName: 'default',
      tolerations: [
        {
          key: 'node.kubernetes.io/not-ready',
          operator: 'Exists',
          effect: 'NoExecute',
          tolerationSeconds: 300,
        },
      ],
      priority: 0,
    },
    status: { phase: 'Pending', qosClass: 'BestEffort' },
  }
}

/** A volume whose content is an image. */
export const imageVolume = (reference: string, name = 'model'): object => ({
  name,
  image: { reference, pullPolicy: 'IfNotPresent' },
})

export function inferenceService(
  model: Record<string, unknown>,
  namespace = 'serving',
): Record<string, unknown> {
  return {
    apiVersion: 'serving.kserve.io/v1beta1',
    kind: 'InferenceService',
    metadata: { name: 'llm', namespace, generation: 1 },
    spec: { predictor: { model: { modelFormat: { name: 'huggingface' }, ...model } } },
  }
}

export interface ReviewChoice {
  readonly operation?: string
  readonly oldObject?: unknown
  readonly uid?: string
  readonly dryRun?: boolean
  readonly subResource?: string
}

export function reviewOf(
  object: Record<string, unknown> | null,
  options: ReviewChoice = {},
): Record<string, unknown> {
  const of = (object ?? options.oldObject ?? {}) as {
    kind?: string
    apiVersion?: string
    metadata?: { name?: string; namespace?: string }
  }
  const [group = '', version = 'v1'] =
    of.apiVersion?.includes('/') === true ? of.apiVersion.split('/') : ['', of.apiVersion]
  const kind = { group, version, kind: of.kind ?? 'Pod' }
  const resource = { group, version, resource: `${(of.kind ?? 'Pod').toLowerCase()}s` }
  return {
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: {
      uid: options.uid ?? '2f1d7a0e-9a3b-4e0c-8d0e-9f3f0f9b1c55',
      kind,
      resource,
      ...(options.subResource === undefined ? {} : { subResource: options.subResource }),
      requestKind: kind,
      requestResource: resource,
      name: of.metadata?.name ?? 'server',
      namespace: of.metadata?.namespace ?? 'serving',
      operation: options.operation ?? 'CREATE',
      userInfo: {
        username: 'kubernetes-admin',
        groups: ['kubeadm:cluster-admins', 'system:authenticated'],
      },
      object,
      oldObject: options.oldObject ?? null,
      dryRun: options.dryRun ?? false,
      options: {
        kind: 'CreateOptions',
        apiVersion: 'meta.k8s.io/v1',
        fieldManager: 'kubectl-create',
        fieldValidation: 'Strict',
      },
    },
  }
}
