import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.CallsApi;
import org.openapitools.client.api.GuestsApi;
import org.openapitools.client.api.SessionsApi;
import org.openapitools.client.model.Failure;
import org.openapitools.client.model.LoginRequest;

/** Uses the Java client that OpenAPI Generator makes from docs/openapi.json, against the server at $BASE. */
class GeneratedClient {
    interface Call {
        void run() throws ApiException;
    }

    /** Checks that a call fails with this status, and that its body is the envelope. */
    static void fails(int status, Call call) throws Exception {
        try {
            call.run();
        } catch (ApiException failure) {
            var envelope = new ApiClient().getObjectMapper().readValue(failure.getResponseBody(), Failure.class);
            check(failure.getCode() == status && envelope.getError().getCode() == status, failure.getResponseBody());
            return;
        }
        throw new AssertionError("no " + status);
    }

    static void check(boolean holds, String message) {
        if (!holds) throw new AssertionError(message);
    }

    public static void main(String[] arguments) throws Exception {
        var client = new ApiClient();
        client.updateBaseUri(System.getenv("BASE"));
        var credentials = new LoginRequest().email(System.getenv("EMAIL")).password(System.getenv("PASSWORD"));
        var token = new SessionsApi(client).login(credentials).getData().getToken();
        fails(401, () -> new CallsApi(client).callConfig(null));
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
        var calls = new CallsApi(client);
        for (var room : new String[] {"r1", "Q&A #1", "100%", "a+b", "Grüße ✓", "a?b=c"}) {
            String text = calls.callCatchUp(room, null).getData();
            check(text.equals(room), room);
            check(calls.callCatchUpInQuery(room, null).getData().equals(text), room);
        }
        var first = calls.callCatchUpWithHttpInfo("r1", null);
        var etag = first.getHeaders().get("etag").get(0);
        try {
            calls.callCatchUp("r1", etag);
            throw new AssertionError("no 304");
        } catch (ApiException unchanged) {
            check(unchanged.getCode() == 304, unchanged.getMessage());
        }
        check(calls.callStatus("r1", null).getData().getTranscriptStatus(), "status");
        check(calls.callConfig(null).getData().getFeatures().getAudioCall(), "config");
        check(calls.meetings(null).getData().isEmpty(), "meetings");
        check(!new GuestsApi(client).joinMember("r1", null).getData().isEmpty(), "guest");
        fails(400, () -> calls.callCatchUp("*", null));
        fails(404, () -> calls.callCatchUp(System.getenv("UNKNOWN_ROOM"), null));
        System.out.println("the generated client works");
    }
}
