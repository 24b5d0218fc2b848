"""Who scales the StatefulSet of drivers: the values, KEDA or an HPA."""

from __future__ import annotations

from tests.rigs.charts import (
    kinds,
    objects,
    one,
    refusal,
    small,
)


def test_who_scales_decides_alone() -> None:
    assert "replicas" in one(objects(), "StatefulSet")["spec"]
    for scaler in ("keda", "hpa"):
        assert (
            "replicas"
            not in one(objects(small(**{scaler: {"enabled": True}})), "StatefulSet")["spec"]
        )
    assert "choose one" in refusal(small(keda={"enabled": True}, hpa={"enabled": True}))
    two = [{"name": "a"}, {"name": "b"}]
    assert "one kind of worker pods" in refusal(small(keda={"enabled": True}, groups=two))
    assert "need mode deployment" in refusal(small(hpa={"enabled": True}, mode="kuberay"))


SCRAM = {"protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}
SECRET = {"name": "kafka", "usernameKey": "user", "passwordKey": "pass", "caKey": "ca.crt"}


def test_keda_signs_in_with_the_secret_of_the_drivers() -> None:
    kafka = {
        "bootstrap_servers": ["a:9094", "b:9094"],
        "group": "live",
        "input_topics": ["one", "two"],
        "security": SCRAM,
    }
    manifest = objects(
        small(settings={"kafka": kafka}, secrets={"kafka": SECRET}, keda={"enabled": True})
    )
    scaled = one(manifest, "ScaledObject")["spec"]
    assert scaled["scaleTargetRef"]["name"] == one(manifest, "StatefulSet")["metadata"]["name"]
    assert scaled["minReplicaCount"] == 1
    assert scaled["fallback"] == {
        "failureThreshold": 3,
        "replicas": 2,
        "behavior": "currentReplicasIfHigher",
    }
    down = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 300
    assert [trigger["metadata"]["topic"] for trigger in scaled["triggers"]] == ["one", "two"]
    metadata = scaled["triggers"][0]["metadata"]
    assert metadata["bootstrapServers"] == "a:9094,b:9094"
    assert metadata["consumerGroup"] == "live"
    assert (metadata["sasl"], metadata["tls"]) == ("scram_sha512", "enable")
    authentication = one(manifest, "TriggerAuthentication")
    assert scaled["triggers"][0]["authenticationRef"] == {
        "name": authentication["metadata"]["name"]
    }
    assert {
        each["parameter"]: each["key"] for each in authentication["spec"]["secretTargetRef"]
    } == {
        "username": "user",
        "password": "pass",
        "ca": "ca.crt",
    }
    assert {each["name"] for each in authentication["spec"]["secretTargetRef"]} == {"kafka"}


def test_keda_uses_the_pods_role_for_msk() -> None:
    security = {"protocol": "SASL_SSL", "sasl_mechanism": "AWS_MSK_IAM"}
    given = small(settings={"kafka": {"security": security}}, keda={"enabled": True})
    assert "keda.awsRegion" in refusal(given)
    given["keda"]["awsRegion"] = "eu-central-1"
    manifest = objects(given)
    assert one(manifest, "TriggerAuthentication")["spec"] == {"podIdentity": {"provider": "aws"}}
    (trigger,) = one(manifest, "ScaledObject")["spec"]["triggers"]
    metadata = trigger["metadata"]
    assert (metadata["sasl"], metadata["saslTokenProvider"]) == ("oauthbearer", "aws_msk_iam")
    assert (metadata["tls"], metadata["awsRegion"]) == ("enable", "eu-central-1")


def test_keda_without_sign_in_has_no_authentication() -> None:
    manifest = objects(small(keda={"enabled": True}))
    assert "TriggerAuthentication" not in kinds(manifest)
    (trigger,) = one(manifest, "ScaledObject")["spec"]["triggers"]
    assert "authenticationRef" not in trigger


def test_keda_makes_no_more_members_than_partitions() -> None:
    given = small(
        settings={"workers": {"count": 2}},
        topics={"partitions": 12},
        keda={"enabled": True, "maxReplicas": 7},
    )
    assert "above topics.partitions 12" in refusal(given)
    given["keda"]["maxReplicas"] = 6
    assert objects(given)


def test_keda_needs_the_user_name_in_the_secret() -> None:
    given = small(
        settings={"kafka": {"security": {**SCRAM, "username": "me"}}},
        secrets={"kafka": {"name": "kafka", "passwordKey": "pass"}},
        keda={"enabled": True},
    )
    assert "write name, usernameKey and passwordKey" in refusal(given)
