"""An application of Django REST framework whose throttles are ours. test_drf.py serves it."""

import os

import django
import django.conf
import django.core.wsgi
import django.urls

django.conf.settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    INSTALLED_APPS=["rest_framework"],
    RATELIMIT={
        "client": f"redis://127.0.0.1:{os.environ['RATELIMIT_PORT']}",
        "prefix": os.environ["RATELIMIT_PREFIX"],
        "timeout_ms": 60_000,
    },
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
        "NUM_PROXIES": 1,
        "DEFAULT_THROTTLE_CLASSES": ["ratelimit_client.drf.AnonRateThrottle", "ratelimit_client.drf.ScopedRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"anon": "5/day", "upload": "2/hour", "second": "1/second"},
    },
)
django.setup()

import ratelimit_client.drf  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Hello(APIView):
    def get(self, request):
        return Response({"text": "hello"})


class Upload(APIView):
    throttle_scope = "upload"

    def get(self, request):
        return Response({"text": "uploaded"})


class Second(APIView):
    throttle_classes = [ratelimit_client.drf.ScopedRateThrottle]
    throttle_scope = "second"

    def get(self, request):
        return Response({"text": "once a second"})


urlpatterns = [django.urls.path("second", Second.as_view()), django.urls.path("", Hello.as_view()), django.urls.path("upload", Upload.as_view())]
app = django.core.wsgi.get_wsgi_application()
