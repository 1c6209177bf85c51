//! What people do with helm, with the real one (API-636): the flows of `tests/flows/helm/`.

crate::flow::flows! {
    "helm":
    ; with controllers:
    failing_upgrade
    helm4
    hooks
    install_upgrade_rollback
    three_way_merge
}
