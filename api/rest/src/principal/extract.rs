//! The principal as an argument of a handler.

use std::{marker::PhantomData, ops::Deref};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web};
use futures::future::LocalBoxFuture;
use state::audit::AuditOrigin;

use super::{Gate, Permission, Principal, client_ip};
use crate::{
    client_limiter::ClientId,
    problem::{Problem, RequestId},
};

/// A principal that holds permission `P`. Without credentials the answer is 401, without the permission 403.
#[derive(Clone, Debug)]
pub struct Authorized<P> {
    principal: Principal,
    permission: PhantomData<fn() -> P>,
}

impl<P> Authorized<P> {
    /// The principal alone. The permission was checked before.
    pub fn into_principal(self) -> Principal {
        self.principal
    }

    /// Who asks, for the audit log.
    pub fn origin(&self, request: &HttpRequest) -> AuditOrigin {
        self.principal.origin(request)
    }
}

impl<P> Deref for Authorized<P> {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.principal
    }
}

impl<P: Permission> FromRequest for Authorized<P> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let gate = request.app_data::<web::Data<Gate>>().ok_or_else(|| {
                tracing::error!("no Gate is registered with the application");
                Problem::internal()
            })?;
            let principal = gate.admit(&request).await?;
            P::check(&principal)?;
            if P::IS_SENSITIVE {
                principal.require_confirmation(&request)?;
            }
            request.extensions_mut().insert(ClientId::from(&principal));
            Ok(Self { principal, permission: PhantomData })
        })
    }
}

impl Principal {
    /// Who asks, for the audit log.
    pub fn origin(&self, request: &HttpRequest) -> AuditOrigin {
        caller("", request).by(&self.id, self.reach.organization_id())
    }
}

/// The origin of a request of nobody who is known, for the audit log and the throttle.
pub fn caller(actor: &str, request: &HttpRequest) -> AuditOrigin {
    let request_id = request.extensions().get::<RequestId>().map(|id| id.as_str().to_owned());
    AuditOrigin {
        actor: actor.to_owned(),
        organization_id: None,
        request_id,
        ip: client_ip(request),
    }
}
