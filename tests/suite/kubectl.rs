//! What people do with kubectl, with the real one (API-635): the flows of `tests/flows/kubectl/`.

crate::flow::flows! {
    "kubectl":
    apply_client_side
    apply_server_side
    argo_cd
    auth
    create
    debug_proxy
    diff
    discovery
    dry_run
    edit
    explain
    get_output
    kustomize
    label_annotate
    logs_exec_top
    nodes
    patch
    prune
    replace
    set
    validate
    wait
    ; with controllers:
    delete
    describe
    drain
    events
    rollout
    scale
}
