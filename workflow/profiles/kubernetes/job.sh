#!/bin/sh
# One job of Snakemake's as a Kubernetes Job: submit THREADS MEM_MB MINUTES GPUS SCRIPT; status JOB; JOB ... cancels.
# PAINTERS_CLAIM is the claim of the volume that holds this repository, mounted at /painters here as in every job;
# PAINTERS_IMAGE is the image built from the Dockerfile.
set -eu
case $1 in
submit)
    kubectl create -o name -f - <<JOB
apiVersion: batch/v1
kind: Job
metadata: { generateName: painters-, labels: { app: painters } }
spec:
  backoffLimit: 0 # Snakemake runs it again
  activeDeadlineSeconds: $(($4 * 60))
  ttlSecondsAfterFinished: 86400
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: job
          image: $PAINTERS_IMAGE
          command: [sh, "$6"]
          resources:
            requests: { cpu: "$2", memory: ${3}M }
            limits: { memory: ${3}M, nvidia.com/gpu: "$5" }
          volumeMounts: [{ name: painters, mountPath: /painters }]
      volumes: [{ name: painters, persistentVolumeClaim: { claimName: $PAINTERS_CLAIM } }]
JOB
    ;;
status) # no answer is no end; a job that is gone has failed
    ended=$(kubectl get --ignore-not-found "$2" -o 'jsonpath=x{.status.succeeded}:{.status.failed}') || ended=x:
    case $ended in x1:*) echo success ;; x:) echo running ;; *) echo failed ;; esac
    ;;
*) kubectl delete --wait=false "$@" ;;
esac
